"""The table of a child's life: every state meets every event, legal or not."""

from __future__ import annotations

from itertools import product

import pytest

from shardmq.actors.kernel.child_states import (
    TRANSITIONS,
    Action,
    ChildEvent,
    ChildState,
    IllegalChildEvent,
    transition,
)

# One line a state, one column an event: where it leads, "-" where it cannot happen.
EXPECTED = """
             start     pong      quiet    overdue   exited       refused  due       stop
WAITING      STARTING  -         -        -         -            -        -         STOPPED
STARTING     -         SERVING   -        KILLED    BACKING_OFF  FAILED   -         STOPPING
SERVING      -         SERVING   SUSPECT  -         BACKING_OFF  FAILED   -         STOPPING
SUSPECT      -         SERVING   -        KILLED    BACKING_OFF  FAILED   -         STOPPING
KILLED       -         KILLED    -        -         BACKING_OFF  FAILED   -         STOPPING
BACKING_OFF  -         -         -        -         -            -        STARTING  STOPPED
STOPPING     -         STOPPING  -        STOPPING  STOPPED      STOPPED  -         -
STOPPED      -         -         -        -         -            -        -         -
FAILED       -         -         -        -         -            -        -         STOPPED
"""
HEAD, *ROWS = [line.split() for line in EXPECTED.strip().splitlines()]
TABLE = {
    (ChildState[state], ChildEvent(event)): target
    for state, *targets in ROWS
    for event, target in zip(HEAD, targets, strict=True)
}


def test_the_expectation_covers_every_pair() -> None:
    assert set(TABLE) == set(product(ChildState, ChildEvent))


@pytest.mark.parametrize(("state", "event"), list(TABLE), ids=lambda one: one.value)
def test_every_event_leads_where_the_table_says_or_raises(
    state: ChildState, event: ChildEvent
) -> None:
    target = TABLE[state, event]
    if target == "-":
        with pytest.raises(IllegalChildEvent, match=event.value):
            transition(state, event)
    else:
        assert transition(state, event)[0] is ChildState[target]


def test_a_process_is_spawned_only_on_the_way_to_starting() -> None:
    for rows in TRANSITIONS.values():
        for target, action in rows.values():
            assert (action is Action.SPAWN) == (target is ChildState.STARTING)


def test_whatever_ends_overdue_is_killed() -> None:
    for rows in TRANSITIONS.values():
        if ChildEvent.OVERDUE in rows:
            assert rows[ChildEvent.OVERDUE][1] is Action.KILL


def test_every_state_leads_to_stopped() -> None:
    for state in ChildState:
        reached, todo = {state}, [state]
        while todo:
            for target, _ in TRANSITIONS[todo.pop()].values():
                if target not in reached:
                    reached.add(target)
                    todo.append(target)
        assert ChildState.STOPPED in reached, state
