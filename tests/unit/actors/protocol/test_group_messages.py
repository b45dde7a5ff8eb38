"""Headers about groups: what their types refuse. The rest is in test_messages.py."""

from __future__ import annotations

import msgspec
import pytest

from shardmq.actors.protocol.group_messages import Ack, AckQueue, GroupJoin, NackMessage, Start
from shardmq.actors.protocol.limits import GROUP_SUBSCRIPTIONS_MAX, NACK_DETAIL_CHARS_MAX


def test_a_range_is_two_offsets() -> None:
    text = b'{"group_id":1,"queues":[{"queue":2,"generation":3,"ranges":[[4,7]]}]}'
    assert msgspec.json.decode(text, type=Ack).queues == [
        AckQueue(queue=2, generation=3, ranges=[(4, 7)])
    ]
    for bad in (b"[4]", b"[4,7,9]", b"[-1,7]", b"4"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text.replace(b"[4,7]", bad), type=Ack)


def test_a_new_group_starts_at_the_latest_message() -> None:
    wish = msgspec.json.decode(b'{"group":"g","member":"m","subscriptions":[]}', type=GroupJoin)
    assert wish.start == Start(at="latest")


def test_lists_and_texts_of_a_hostile_peer_are_bounded() -> None:
    many = [{"topic": "t"}] * (GROUP_SUBSCRIPTIONS_MAX + 1)
    with pytest.raises(msgspec.ValidationError, match="length"):
        msgspec.convert({"group": "g", "member": "m", "subscriptions": many}, GroupJoin)
    with pytest.raises(msgspec.ValidationError, match="length"):
        msgspec.convert({"offset": 1, "detail": "x" * (NACK_DETAIL_CHARS_MAX + 1)}, NackMessage)
