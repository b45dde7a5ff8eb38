"""Real processes under supervision: ready, restarted, killed when hung, gone with the parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shardmq.actors.kernel.child_states import ChildState
from shardmq.actors.kernel.clock import SystemClock
from shardmq.actors.kernel.spawn import ChildSpec
from shardmq.actors.kernel.supervising import StartFailed, Supervisor
from shardmq.actors.kernel.supervisor import ChildStatus, RestartPolicy
from shardmq.actors.protocol.verbs import Verb
from support.actors import Caller, children_import_tests, echo_spec, eventually, run_directory

pytestmark = pytest.mark.xdist_group("processes")

QUICK = RestartPolicy(ping_ms=50)
"""A hang is found in half a second; on a busy machine no healthy child is that slow."""

Supervise = Callable[..., Supervisor]


@pytest.fixture
def directory() -> Iterator[Path]:
    with run_directory() as path, children_import_tests():
        yield path


@pytest.fixture
def supervise() -> Iterator[Supervise]:
    made: list[Supervisor] = []

    def start(*specs: ChildSpec, policy: RestartPolicy | None = None) -> Supervisor:
        made.append(Supervisor(specs, SystemClock(), policy=policy, log_level="error"))
        made[-1].start()
        return made[-1]

    yield start
    for one in made:
        one.stop()


def pid_of(supervisor: Supervisor, name: str = "a") -> int:
    pid = next(one.pid for one in supervisor.children() if one.name == name)
    assert pid is not None
    return pid


def is_running(pid: int) -> bool:
    """Not gone, and not a zombie that its new parent has not reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def restarted(supervisor: Supervisor, old_pid: int) -> ChildStatus | None:
    (child,) = supervisor.children()
    is_new = child.state is ChildState.SERVING and child.pid != old_pid
    return child if is_new else None


def test_ready_means_that_every_child_answers(directory: Path, supervise: Supervise) -> None:
    specs = [echo_spec(directory, "a"), echo_spec(directory, "b")]
    supervisor = supervise(*specs)
    supervisor.wait_ready(20)
    assert supervisor.is_ready
    for spec in specs:
        with Caller(spec.mailbox) as caller:
            caller.ask(Verb.PRODUCE)


def test_a_killed_child_is_back_within_two_seconds(directory: Path, supervise: Supervise) -> None:
    supervisor = supervise(echo_spec(directory, "a"))
    supervisor.wait_ready(20)
    with Caller(supervisor._specs["a"].mailbox) as caller:
        for restarts in (1, 2):
            old = pid_of(supervisor)
            killed_s = time.monotonic()
            os.kill(old, signal.SIGKILL)
            child = eventually(lambda: restarted(supervisor, old))  # noqa: B023
            caller.is_up = False
            caller.ask(Verb.PRODUCE)
            assert time.monotonic() - killed_s < 2.0
            assert (child.restarts, child.exit_code) == (restarts, -9)
            assert child.exit_reason == "killed by SIGKILL"


def test_a_child_that_is_stopped_is_killed_and_replaced(
    directory: Path, supervise: Supervise
) -> None:
    supervisor = supervise(echo_spec(directory, "a"), policy=QUICK)
    supervisor.wait_ready(20)
    old = pid_of(supervisor)
    os.kill(old, signal.SIGSTOP)
    eventually(lambda: restarted(supervisor, old))
    assert not is_running(old)


def test_a_child_whose_loop_hangs_is_killed_though_its_io_thread_lives(
    directory: Path, supervise: Supervise
) -> None:
    supervisor = supervise(echo_spec(directory, "a", "hang"), policy=QUICK)
    supervisor.wait_ready(20)
    old = pid_of(supervisor)
    with Caller(supervisor._specs["a"].mailbox) as caller:
        caller.send(Verb.OFFSETS)
        eventually(lambda: restarted(supervisor, old))


def test_a_refused_start_reaches_the_user_and_stops_the_others(
    directory: Path, supervise: Supervise
) -> None:
    supervisor = supervise(echo_spec(directory, "a"), echo_spec(directory, "b", "refuse"))
    with pytest.raises(StartFailed, match=r"^b: the directory is in use by pid 4711$") as caught:
        supervisor.wait_ready(20)
    assert caught.value.exit_code == 78
    assert all(one.pid is None for one in supervisor.children())


def test_a_start_that_takes_too_long_says_which_child_is_late(
    directory: Path, supervise: Supervise
) -> None:
    supervisor = supervise(echo_spec(directory, "a", "slow"))
    with pytest.raises(StartFailed, match=r"^a: not ready after 0\.2 s \(starting\)$"):
        supervisor.wait_ready(0.2)


def test_a_child_that_refuses_later_is_given_up_and_the_others_go_on(
    directory: Path, supervise: Supervise
) -> None:
    specs = [echo_spec(directory, "a"), echo_spec(directory, "b", "once")]
    supervisor = supervise(*specs)
    supervisor.wait_ready(20)
    os.kill(pid_of(supervisor, "b"), signal.SIGKILL)
    eventually(lambda: supervisor.children()[1].state is ChildState.FAILED)
    assert supervisor.children()[1].exit_reason == "refused the second time"
    assert supervisor.children()[0].state is ChildState.SERVING


def test_stages_stop_from_the_highest_to_the_lowest(directory: Path) -> None:
    seen: list[tuple[str, ChildState]] = []
    supervisor = Supervisor(
        [echo_spec(directory, name, stage=stage) for stage, name in enumerate("abc")],
        SystemClock(),
        on_change=lambda child: seen.append((child.name, child.state)),
        log_level="error",
    )
    supervisor.start()
    supervisor.wait_ready(20)
    supervisor.stop()
    supervisor.stop()
    stops = [name for name, state in seen if state is ChildState.STOPPED]
    assert stops == ["c", "b", "a"]
    began = [name for name, state in seen if state is ChildState.STOPPING]
    assert began == ["c", "b", "a"]
    assert {one.exit_code for one in supervisor.children()} == {0}


def test_the_loop_can_run_in_the_callers_thread(directory: Path) -> None:
    ready = threading.Event()
    supervisor = Supervisor(
        [echo_spec(directory, "a")],
        SystemClock(),
        on_change=lambda child: ready.set() if child.state is ChildState.SERVING else None,
        log_level="error",
    )

    def stop_when_ready() -> None:
        assert ready.wait(20)
        supervisor.request_stop()

    stopper = threading.Thread(target=stop_when_ready)
    stopper.start()
    supervisor.run()
    stopper.join()
    assert supervisor.children()[0].state is ChildState.STOPPED


def test_run_raises_what_kept_the_children_from_starting(directory: Path) -> None:
    supervisor = Supervisor([echo_spec(directory, "a", "refuse")], SystemClock(), log_level="error")
    with pytest.raises(StartFailed, match="4711"):
        supervisor.run()


def test_a_fork_of_the_owner_does_not_stop_the_children(
    directory: Path, supervise: Supervise
) -> None:
    supervisor = supervise(echo_spec(directory, "a"))
    supervisor.wait_ready(20)
    supervisor._owner_pid += 1  # as the fork sees it
    supervisor.stop()
    supervisor._owner_pid -= 1
    assert supervisor.is_ready


# --- a keeper: a parent process of its own -------------------------------------------------------


def keeper(directory: Path, where: str) -> tuple[subprocess.Popen[str], list[int]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "support.keeper", str(directory), where],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2
    return process, pids


@pytest.mark.parametrize("where", ["thread", "main"])
def test_children_die_with_a_parent_that_is_killed(directory: Path, where: str) -> None:
    with keeper(directory, where)[0] as process:
        pids = [int(pid) for pid in _children_of(process.pid)]
        assert len(pids) == 2
        process.kill()
        eventually(lambda: not any(is_running(pid) for pid in pids), 5)


@pytest.mark.parametrize("where", ["thread", "main"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_stop_everything_in_order(
    directory: Path, where: str, number: signal.Signals
) -> None:
    process, pids = keeper(directory, where)
    with process:
        os.killpg(process.pid, number)  # as a terminal does
        assert process.wait(20) == 0
    assert not any(is_running(pid) for pid in pids)


def _children_of(pid: int) -> list[str]:
    tasks = Path(f"/proc/{pid}/task")
    return [child for task in tasks.iterdir() for child in (task / "children").read_text().split()]
