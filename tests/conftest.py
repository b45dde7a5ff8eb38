"""What holds for every test: no settings of the user's shell, repeatable fuzzing, one lane for e2e.

Owns: hypothesis profiles, the environment, and which tests must not run beside each other. Must not
hold fixtures of one subject: those stand in support/ or in the directory that uses them.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# Tests that start processes measure real time (a restart within 2 s); two at once on two cores
# would measure each other. `--dist loadgroup` gives them one worker, the rest uses the other.
PROCESS_DIRECTORIES = ("tests/e2e/", "tests/interop/")

# No deadline: the machine is shared. In CI the same examples each time, so that red means changed.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure() -> None:
    for name in list(os.environ):
        if name.startswith("SHARDMQ_"):
            del os.environ[name]
    # A shell that starts the tests behind it (`make test &`) has them, and all they start, ignore
    # Ctrl-C, which several of them are about.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(PROCESS_DIRECTORIES):
            item.add_marker(pytest.mark.xdist_group("processes"))
