"""The supervisor's decisions, with time that only the test moves."""

from __future__ import annotations

import pytest

from shardmq.actors.kernel.child_states import Action, ChildState, IllegalChildEvent
from shardmq.actors.kernel.supervisor import ChildStatus, Order, RestartPolicy, SupervisorCore
from support.clock import ManualClock


class Stage:
    """A supervisor core with a clock, and a way to say briefly what happens."""

    def __init__(self, *children: tuple[str, int], policy: RestartPolicy | None = None) -> None:
        self.clock = ManualClock()
        self.core = SupervisorCore(children or (("a", 0),), policy)
        self.last_ping: dict[str, int] = {}

    def note(self, orders: list[Order]) -> list[str]:
        for order in orders:
            if order.action is Action.PING:
                self.last_ping[order.child] = order.ping_id
        return [f"{order.action.value} {order.child}" for order in orders]

    def start(self) -> list[str]:
        return self.note(self.core.start(self.clock.now()))

    def serve(self, *names: str) -> None:
        for name in names:
            self.note(self.core.connected(name, self.clock.now()))
            self.pong(name)

    def pong(self, name: str = "a", is_serving: bool = True, ping_id: int | None = None) -> None:
        number = self.last_ping[name] if ping_id is None else ping_id
        self.note(self.core.pong(name, number, is_serving, self.clock.now()))

    def exit(self, name: str = "a", code: int = -9, refused: bool = False) -> list[str]:
        orders = self.core.exited(name, code, f"reason {code}", refused, self.clock.now())
        return self.note(orders)

    def tick(self, span_ms: float = 0) -> list[str]:
        return self.note(self.core.tick(self.clock.advance(span_ms)))

    def status(self, name: str = "a") -> ChildStatus:
        return next(one for one in self.core.children if one.name == name)

    def state(self, name: str = "a") -> ChildState:
        return self.status(name).state


def serving(*children: tuple[str, int], policy: RestartPolicy | None = None) -> Stage:
    stage = Stage(*children, policy=policy)
    stage.start()
    stage.serve(*(one.name for one in stage.core.children))
    assert stage.core.served_once
    return stage


def test_all_children_start_at_once_and_the_first_pong_means_ready() -> None:
    stage = Stage(("shard-0", 0), ("router", 2))
    assert stage.start() == ["spawn shard-0", "spawn router"]
    assert stage.note(stage.core.connected("shard-0", stage.clock.now())) == ["ping shard-0"]
    stage.pong("shard-0")
    assert stage.state("shard-0") is ChildState.SERVING
    assert not stage.core.served_once
    stage.serve("router")
    assert stage.core.served_once


def test_a_pong_that_does_not_say_serving_is_not_ready() -> None:
    stage = Stage()
    stage.start()
    stage.tick(1_000)
    stage.pong(is_serving=False)
    assert stage.state() is ChildState.STARTING


def test_a_child_is_asked_each_second() -> None:
    stage = serving()
    for _ in range(30):
        assert stage.core.wake_at_ms == stage.clock.now().mono_ms + 1_000
        assert stage.tick(999) == []
        assert stage.tick(1) == ["ping a"]
        stage.pong()
    assert stage.state() is ChildState.SERVING


def test_three_unanswered_pings_make_a_suspect_and_ten_kill_it() -> None:
    stage = serving()
    said = [stage.tick(1_000) for _ in range(3)]
    assert said == [["ping a"]] * 3
    assert stage.state() is ChildState.SERVING
    assert stage.tick(1_000) == ["ping a"]
    assert stage.state() is ChildState.SUSPECT
    for _ in range(6):
        assert stage.tick(1_000) == ["ping a"]
    assert stage.tick(1_000) == ["kill a"]
    assert stage.state() is ChildState.KILLED
    assert stage.exit() == []
    assert stage.tick() == ["spawn a"]


def test_a_suspect_that_answers_serves_again() -> None:
    stage = serving()
    for _ in range(5):
        stage.tick(1_000)
    assert stage.state() is ChildState.SUSPECT
    stage.pong()
    assert stage.state() is ChildState.SERVING
    for _ in range(3):
        stage.tick(1_000)
    assert stage.state() is ChildState.SERVING, "its count began anew"


def test_a_supervisor_that_was_stopped_itself_kills_nobody() -> None:
    stage = serving()
    assert stage.tick(3_600_000) == ["ping a"]
    stage.pong()
    assert stage.state() is ChildState.SERVING


def test_the_first_crash_is_mended_at_once_the_next_ones_with_growing_pauses() -> None:
    stage = serving()
    pauses = []
    for _ in range(9):
        stage.exit()
        wake_at_ms = stage.core.wake_at_ms
        assert wake_at_ms is not None
        pauses.append(wake_at_ms - stage.clock.now().mono_ms)
        assert stage.tick(pauses[-1]) == ["spawn a"]
        stage.serve("a")
    assert pauses == [0, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]
    assert stage.status().restarts == 9
    assert stage.status().exit_code == -9


def test_who_served_for_a_while_starts_without_a_pause_again() -> None:
    stage = serving()
    for _ in range(3):
        stage.exit()
        stage.tick(5_000)
        stage.serve("a")
    stage.clock.advance(3_000)
    stage.exit()
    assert stage.tick() == ["spawn a"]


def test_a_pong_of_the_predecessor_does_not_make_the_successor_ready() -> None:
    stage = serving()
    stage.tick(1_000)
    old = stage.last_ping["a"]
    stage.exit()
    stage.tick()
    assert stage.state() is ChildState.STARTING
    stage.pong(ping_id=old)
    assert stage.state() is ChildState.STARTING
    stage.serve("a")
    assert stage.state() is ChildState.SERVING


def test_a_late_pong_of_a_dead_child_is_not_an_error() -> None:
    stage = serving()
    stage.tick(1_000)
    stage.exit()
    assert stage.state() is ChildState.BACKING_OFF
    stage.pong()
    assert stage.state() is ChildState.BACKING_OFF


def test_a_refusal_is_given_up_for_good() -> None:
    stage = serving(("a", 0), ("b", 0))
    stage.exit("a", code=78, refused=True)
    assert stage.state("a") is ChildState.FAILED
    assert stage.core.failure is stage.status("a")
    assert stage.status("a").exit_reason == "reason 78"
    assert stage.tick(60_000) == ["ping b"], "b goes on"


def test_any_exit_before_the_broker_served_once_is_given_up() -> None:
    stage = Stage(("a", 0), ("b", 0))
    stage.start()
    stage.serve("a")
    stage.exit("b", code=70)
    assert stage.core.failure is stage.status("b")


def test_a_start_that_takes_too_long_is_killed() -> None:
    stage = Stage(policy=RestartPolicy(start_ms=5_000))
    stage.start()
    for _ in range(4):
        stage.tick(1_000)
    assert stage.state() is ChildState.STARTING
    assert stage.tick(1_000) == ["kill a"]


def test_the_stop_goes_stage_by_stage_from_the_top() -> None:
    stage = serving(("shard-0", 0), ("shard-1", 0), ("coordinator", 1), ("router", 2))
    assert stage.note(stage.core.stop(stage.clock.now())) == ["terminate router"]
    assert stage.note(stage.core.stop(stage.clock.now())) == [], "asked again, nothing new"
    assert stage.exit("router", 0) == ["terminate coordinator"]
    assert stage.exit("coordinator", 0) == ["terminate shard-0", "terminate shard-1"]
    assert stage.exit("shard-1", 0) == []
    assert not stage.core.is_done
    stage.exit("shard-0", 0)
    assert stage.core.is_done
    assert stage.core.wake_at_ms is None


def test_a_child_that_overstays_is_killed() -> None:
    stage = serving(policy=RestartPolicy(stop_ms=10_000))
    stage.core.stop(stage.clock.now())
    assert stage.core.wake_at_ms == 10_000
    assert stage.tick(9_999) == []
    assert stage.tick(1) == ["kill a"]
    stage.exit()
    assert stage.core.is_done


def test_who_dies_during_the_stop_is_not_started_again() -> None:
    stage = serving(("shard", 0), ("router", 1))
    stage.core.stop(stage.clock.now())
    assert stage.exit("shard") == []
    assert stage.state("shard") is ChildState.STOPPED
    assert stage.tick(5_000) == []
    assert stage.exit("router", 0) == []
    assert stage.core.is_done


@pytest.mark.parametrize("state", ["waiting", "starting", "suspect", "killed", "backing off"])
def test_a_stop_finds_every_child_where_it_is(state: str) -> None:
    stage = Stage() if state in ("waiting", "starting") else serving()
    if state == "starting":
        stage.start()
    elif state in ("suspect", "killed"):
        for _ in range(5 if state == "suspect" else 11):
            stage.tick(1_000)
    elif state == "backing off":
        stage.exit()
    assert stage.state().value == state
    orders = stage.note(stage.core.stop(stage.clock.now()))
    assert orders == (["terminate a"] if state in ("starting", "suspect") else [])
    if not stage.core.is_done:
        stage.exit(code=0)
    assert stage.core.is_done


def test_an_impossible_event_raises_and_changes_nothing() -> None:
    stage = serving()
    with pytest.raises(IllegalChildEvent):
        stage.core.start(stage.clock.now())
    assert stage.state() is ChildState.SERVING
    assert stage.core.wake_at_ms == 1_000
    stage.core.stop(stage.clock.now())
    stage.exit(code=0)
    with pytest.raises(IllegalChildEvent):
        stage.exit(code=0)
    assert stage.core.is_done
