"""The life of a child process as a table: which event is legal in which state, and what follows.

Owns: states, events, the actions they ask for, and every transition between them. Must not know
times, counts or processes: `supervisor.py` decides when an event has happened.

                 start         PONG            3 unanswered        10 unanswered
      WAITING ---------> STARTING ---> SERVING -----------> SUSPECT ------------> KILLED
                            ^             ^                    |                    |
                        due |             '------- PONG -------'                    |
                       BACKING_OFF <-------------------- exited --------------------'

From everywhere: a stop leads through STOPPING to STOPPED, a refusal to FAILED. An event without a
row is a bug; it raises and changes nothing.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["TRANSITIONS", "Action", "ChildEvent", "ChildState", "IllegalChildEvent", "transition"]


class ChildState(Enum):
    """Where a child is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    SERVING = "serving"
    SUSPECT = "suspect"
    KILLED = "killed"
    BACKING_OFF = "backing off"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class ChildEvent(Enum):
    """What can happen to a child."""

    START = "start"
    PONG = "pong"
    QUIET = "quiet"
    OVERDUE = "overdue"
    EXITED = "exited"
    REFUSED = "refused"
    DUE = "due"
    STOP = "stop"


class Action(Enum):
    """What the shell is to do."""

    NOTHING = "nothing"
    SPAWN = "spawn"
    PING = "ping"
    TERMINATE = "terminate"
    KILL = "kill"


class IllegalChildEvent(RuntimeError):
    """An event that cannot happen in the child's state: a bug; nothing was changed."""


_S, _E, _A = ChildState, ChildEvent, Action
TRANSITIONS: dict[ChildState, dict[ChildEvent, tuple[ChildState, Action]]] = {
    _S.WAITING: {
        _E.START: (_S.STARTING, _A.SPAWN),
        _E.STOP: (_S.STOPPED, _A.NOTHING),
    },
    _S.STARTING: {
        _E.PONG: (_S.SERVING, _A.NOTHING),
        _E.OVERDUE: (_S.KILLED, _A.KILL),
        _E.EXITED: (_S.BACKING_OFF, _A.NOTHING),
        _E.REFUSED: (_S.FAILED, _A.NOTHING),
        _E.STOP: (_S.STOPPING, _A.TERMINATE),
    },
    _S.SERVING: {
        _E.PONG: (_S.SERVING, _A.NOTHING),
        _E.QUIET: (_S.SUSPECT, _A.NOTHING),
        _E.EXITED: (_S.BACKING_OFF, _A.NOTHING),
        _E.REFUSED: (_S.FAILED, _A.NOTHING),
        _E.STOP: (_S.STOPPING, _A.TERMINATE),
    },
    _S.SUSPECT: {
        _E.PONG: (_S.SERVING, _A.NOTHING),
        _E.OVERDUE: (_S.KILLED, _A.KILL),
        _E.EXITED: (_S.BACKING_OFF, _A.NOTHING),
        _E.REFUSED: (_S.FAILED, _A.NOTHING),
        _E.STOP: (_S.STOPPING, _A.TERMINATE),
    },
    # Until the process is reaped its directory is locked: no successor before that.
    _S.KILLED: {
        _E.PONG: (_S.KILLED, _A.NOTHING),
        _E.EXITED: (_S.BACKING_OFF, _A.NOTHING),
        _E.REFUSED: (_S.FAILED, _A.NOTHING),
        _E.STOP: (_S.STOPPING, _A.NOTHING),
    },
    _S.BACKING_OFF: {
        _E.DUE: (_S.STARTING, _A.SPAWN),
        _E.STOP: (_S.STOPPED, _A.NOTHING),
    },
    _S.STOPPING: {
        _E.PONG: (_S.STOPPING, _A.NOTHING),
        _E.OVERDUE: (_S.STOPPING, _A.KILL),
        _E.EXITED: (_S.STOPPED, _A.NOTHING),
        _E.REFUSED: (_S.STOPPED, _A.NOTHING),
    },
    _S.STOPPED: {},
    _S.FAILED: {
        _E.STOP: (_S.STOPPED, _A.NOTHING),
    },
}
assert set(TRANSITIONS) == set(ChildState)


def transition(state: ChildState, event: ChildEvent) -> tuple[ChildState, Action]:
    """Where `event` leads from `state`, and what is to be done.

    Raises:
        IllegalChildEvent: it cannot happen there.
    """
    row = TRANSITIONS[state].get(event)
    if row is None:
        raise IllegalChildEvent(f"{event.value} while {state.value}")
    return row
