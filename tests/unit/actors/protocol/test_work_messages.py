"""Headers about work queues: what their types refuse. The rest is in test_messages.py."""

from __future__ import annotations

import msgspec
import pytest

from shardmq.actors.protocol.limits import NACK_DETAIL_CHARS_MAX, REQUEST_QUEUES_MAX
from shardmq.actors.protocol.names import why_invalid_group
from shardmq.actors.protocol.work_messages import EVERYBODY, Settle, SettleItem

ITEM = {"queue": 2, "generation": 1, "receipt": 7, "start": 4, "stop": 5}


def test_a_message_is_acked_unless_something_else_is_said() -> None:
    assert msgspec.convert(ITEM, SettleItem).act == "ack"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**ITEM, "act": "lose"}, SettleItem)


def test_lists_and_texts_of_a_hostile_peer_are_bounded() -> None:
    with pytest.raises(msgspec.ValidationError, match="length"):
        msgspec.convert({**ITEM, "detail": "x" * (NACK_DETAIL_CHARS_MAX + 1)}, SettleItem)
    many = [ITEM] * (REQUEST_QUEUES_MAX + 1)
    with pytest.raises(msgspec.ValidationError, match="length"):
        msgspec.convert({"group_id": 1, "items": many}, Settle)


def test_no_name_by_the_rules_stands_for_all_members() -> None:
    assert why_invalid_group(EVERYBODY) is not None
