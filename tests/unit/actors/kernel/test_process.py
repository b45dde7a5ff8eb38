"""The child's half: signals, exit codes and last words of a real process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shardmq.actors.kernel.process import ExitCode
from shardmq.actors.kernel.spawn import Child
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.verbs import Verb
from support.actors import Caller, children_import_tests, echo_spec, eventually, run_directory

pytestmark = pytest.mark.xdist_group("processes")

RSS_BYTES_MAX = 26 * 1024 * 1024


@pytest.fixture
def directory() -> Iterator[Path]:
    with run_directory() as path, children_import_tests():
        yield path


@pytest.fixture
def child(directory: Path) -> Iterator[Child]:
    made = Child(echo_spec(directory, "a"))
    yield made
    made.kill()
    made.wait()
    made.close()


@contextmanager
def stderr_in(file: Path) -> Iterator[None]:
    """What is spawned meanwhile has its stderr in `file`."""
    before = os.dup(2)
    with file.open("wb") as stderr:
        os.dup2(stderr.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def test_sigterm_answers_those_who_wait_and_exits_0(child: Child) -> None:
    with Caller(child.spec.mailbox) as caller:
        parked = caller.send(Verb.FETCH)
        assert caller.ask(Verb.PRODUCE, b"x")[1] == [b"\x80", b"x"]
        child.terminate()
        route, _ = caller.receive()
        assert (route.request_id, route.tail) == (parked, Code.SHUTTING_DOWN)
    assert child.wait().code == ExitCode.OK


def test_sigint_is_left_to_the_parent(child: Child) -> None:
    with Caller(child.spec.mailbox) as caller:
        caller.connect()
        os.kill(child.pid, signal.SIGINT)
        assert caller.ask(Verb.PRODUCE)[0].tail == Code.OK
    assert child.exit() is None


def test_sigusr1_shows_the_stacks_and_changes_nothing(directory: Path) -> None:
    shown = directory / "stderr"
    with stderr_in(shown):
        child = Child(echo_spec(directory, "a"))
    with Caller(child.spec.mailbox) as caller:
        caller.connect()
        os.kill(child.pid, signal.SIGUSR1)
        eventually(lambda: "in run_actor" in shown.read_text())
        assert "most recent call first" in shown.read_text()
        assert caller.ask(Verb.PRODUCE)[0].tail == Code.OK
    child.kill()
    child.wait()
    child.close()


def test_a_bug_is_logged_with_its_traceback_and_told_to_the_parent(
    directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    child = Child(echo_spec(directory, "a", "fail"))
    assert child.wait() == (ExitCode.BUG, "RuntimeError: a bug in the start")
    child.close()
    said = capfd.readouterr().err
    assert '"level": "critical"' in said
    assert "support/echo.py" in said


def test_a_failing_disk_has_its_own_exit_code(directory: Path) -> None:
    child = Child(echo_spec(directory, "a", "disk"))
    assert child.wait() == (ExitCode.DISK, "OSError: [Errno 5] Input/output error")
    child.close()


def test_sigterm_while_starting_exits_0(directory: Path) -> None:
    child = Child(echo_spec(directory, "a", "slow"))
    eventually(lambda: (directory / "a.sock.starting").exists())
    child.terminate()
    assert child.wait().code == ExitCode.OK
    child.close()


def test_a_child_whose_parent_is_already_gone_does_not_start(directory: Path) -> None:
    """Its parent's number is another one by the time it asks."""
    child = Child(echo_spec(directory, "a"), parent_pid=os.getpid() + 1)
    assert child.wait() == (ExitCode.OK, "stopped in order")
    assert list(directory.iterdir()) == []
    child.close()


def test_an_idle_child_is_small(child: Child) -> None:
    with Caller(child.spec.mailbox) as caller:
        caller.ask(Verb.PRODUCE)
        pages = int(Path(f"/proc/{child.pid}/statm").read_text().split()[1])
    assert pages * os.sysconf("SC_PAGE_SIZE") < RSS_BYTES_MAX


def test_a_child_does_not_load_what_only_the_parent_needs(directory: Path) -> None:
    child = Child(echo_spec(directory, "a", "modules"))
    reason = child.wait().reason
    child.close()
    loaded = set(reason.split())
    assert {"shardmq", "zmq", "msgspec"} <= loaded
    heavy = {"asyncio", "multiprocessing", "subprocess", "click", "rich", "psutil", "ssl"}
    assert not heavy & loaded
