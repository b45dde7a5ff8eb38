"""State records for people."""

from __future__ import annotations

import msgspec
import pytest

from shardmq.shards.dump_state import named_state
from shardmq.shards.state.records import (
    CursorMove,
    CursorsMoved,
    EarliestRaised,
    Granted,
    GrantedQueue,
    HandedOut,
    HandedQueue,
    TopicDropped,
    encode_state,
)


def test_every_field_has_its_name() -> None:
    granted = Granted(7, "billing", [GrantedQueue(1, 2, "ann", "*", 300)])
    queue = {"queue": 1, "generation": 2, "member": "ann", "expression": "*", "floor": 300}
    assert named_state(encode_state(granted)) == {
        "state": "Granted",
        "group_id": 7,
        "group": "billing",
        "queues": [queue],
    }
    assert named_state(encode_state(TopicDropped(3))) == {"state": "TopicDropped", "topic_id": 3}


def test_what_is_not_said_is_left_out() -> None:
    moved = CursorsMoved(7, [CursorMove(1, 5, []), CursorMove(65, 6, [8, 9])])
    told = named_state(encode_state(moved))["moves"]
    assert told[0] == {"queue": 1, "floor": 5}
    assert told[1]["acked"] == [8, 9]
    raised = named_state(encode_state(EarliestRaised([(1, 4)])))
    assert raised["offsets"] == [[1, 4]]


def test_what_is_handed_out_is_named() -> None:
    handed = HandedOut(7, [HandedQueue(1, 9, 300, True, [(5, 6, 2)])])
    queue = {"queue": 1, "receipt": 9, "until_ms": 300, "held": True, "pieces": [[5, 6, 2]]}
    assert named_state(encode_state(handed)) == {
        "state": "HandedOut",
        "group_id": 7,
        "queues": [queue],
    }


def test_a_newer_record_is_for_the_caller() -> None:
    with pytest.raises(msgspec.MsgspecError):
        named_state(bytes.fromhex("927f01"))
