"""Real children: how they start, what they say last, how they end."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shardmq.actors.kernel.process import ExitCode
from shardmq.actors.kernel.spawn import Child, ChildSpec, Exit
from support.actors import Caller, children_import_tests, echo_spec, run_directory

pytestmark = pytest.mark.xdist_group("processes")


@pytest.fixture
def directory() -> Iterator[Path]:
    with run_directory() as path, children_import_tests():
        yield path


def ended(spec: ChildSpec) -> Exit:
    child = Child(spec)
    last = child.wait()
    child.close()
    return last


def test_a_child_serves_in_a_session_of_its_own_until_it_is_terminated(directory: Path) -> None:
    child = Child(echo_spec(directory, "a"))
    with Caller(child.spec.mailbox) as caller:
        caller.connect()
        assert os.getsid(child.pid) == child.pid
        assert child.exit() is None
        assert Path(f"/proc/{child.pid}/comm").read_text() == "mq:a\n"
        child.terminate()
        assert child.wait() == (ExitCode.OK, "stopped in order")
    assert child.exit() == child.wait(), "asked again it says the same"
    child.terminate()
    child.kill()
    child.close()


def test_the_pidfd_is_readable_as_soon_as_the_child_has_ended(directory: Path) -> None:
    child = Child(echo_spec(directory, "a", "refuse"))
    poller = select.poll()
    poller.register(child.pidfd, select.POLLIN)
    assert poller.poll(20_000)
    assert child.exit() is not None
    child.close()


def test_a_child_that_refuses_says_why(directory: Path) -> None:
    last = ended(echo_spec(directory, "a", "refuse"))
    assert last == (ExitCode.REFUSED, "the directory is in use by pid 4711")


def test_a_killed_child_names_the_signal(directory: Path) -> None:
    child = Child(echo_spec(directory, "a"))
    child.kill()
    assert child.wait() == (-9, "killed by SIGKILL")
    child.close()


def test_a_module_that_does_not_exist_is_an_exit_like_any_other(directory: Path) -> None:
    spec = replace(echo_spec(directory, "a"), module="support.nothing")
    assert ended(spec) == (1, "exit code 1, see its log")


def test_descriptors_are_passed_under_their_numbers_and_no_others(directory: Path) -> None:
    passed, kept = os.eventfd(0), os.eventfd(0)
    os.set_inheritable(kept, True)
    child = Child(replace(echo_spec(directory, "a"), pass_fds=(passed,)))
    with Caller(child.spec.mailbox) as caller:
        caller.connect()
        links = Path(f"/proc/{child.pid}/fd")
        assert (links / str(passed)).is_symlink()
        if (links / str(kept)).is_symlink():  # it may have opened one of its own there
            assert os.readlink(links / str(kept)) != os.readlink(f"/proc/self/fd/{kept}")
    child.kill()
    child.wait()
    child.close()
    os.close(passed)
    os.close(kept)
