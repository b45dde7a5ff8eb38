"""Mode: reading assigned queues and being a member do not mix, and the error says what to do."""

from __future__ import annotations

import pytest

from shardmq.client import errors
from shardmq.client.group.mode import Mode
from shardmq.client.group.options import checked_group

MEMBER = checked_group("g", "me", "latest")


def test_a_member_cannot_assign() -> None:
    with pytest.raises(errors.InvalidArgument, match="is given its queues") as caught:
        Mode(MEMBER).assigns()
    assert "subscribe()" in caught.value.hint


def test_without_a_group_nothing_can_be_subscribed_to() -> None:
    mode = Mode(None)
    mode.assigns()
    with pytest.raises(errors.InvalidArgument, match="needs a group"):
        mode.subscribes("t", "*", started=False)
    with pytest.raises(errors.InvalidArgument, match="has no group"):
        mode.starts()


def test_subscriptions_are_taken_until_the_start() -> None:
    mode = Mode(MEMBER)
    with pytest.raises(errors.InvalidArgument, match="nothing was subscribed to"):
        mode.starts()
    mode.subscribes("t", "a", started=False)
    mode.subscribes("t", "b", started=False)
    assert mode.starts() is MEMBER
    assert {topic: tags.canonical for topic, tags in mode.subscriptions.items()} == {"t": "b"}
    with pytest.raises(errors.InvalidArgument, match="stay as they are"):
        mode.subscribes("u", "*", started=True)


def test_a_subscription_that_comes_too_late_hears_what_it_should_have_come_before() -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        Mode(MEMBER, "receive").subscribes("u", "*", started=True)
    assert "before the first receive" in caught.value.hint
