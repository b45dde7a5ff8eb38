"""Flows about groups, over a fake broker."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import CursorsReply
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import errors
from shardmq.client.groups import cursors_of
from support.clients import Wired, run_flow


def test_cursors_are_asked_of_each_shard_once() -> None:
    wired = Wired()
    route = wired.broker.create("t", 4)
    wired.broker.give("me", "t", 0, 1, 2, 3)
    found = run_flow(wired, cursors_of(7, [(row.number, row.shard) for row in route.queues]))
    assert sorted(found) == [row.number for row in route.queues]
    assert [route.verb for route, _, _ in wired.broker.seen].count(Verb.CURSORS) == 2


def test_a_queue_that_a_shard_does_not_know_is_an_error() -> None:
    wired = Wired()
    with pytest.raises(errors.Rejected, match="queue 9"):
        run_flow(wired, cursors_of(7, [(9, 0)]))
    wired.broker.answer = lambda route, *_: (
        (Code.OK, CursorsReply()) if route.verb == Verb.CURSORS else None
    )
    with pytest.raises(errors.RemoteError, match="does not tell"):
        run_flow(wired, cursors_of(7, [(9, 0)]))
