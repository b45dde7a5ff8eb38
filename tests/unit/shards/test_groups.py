"""Groups: what the verbs about groups add to the figures of a shard."""

from __future__ import annotations

from support.grouped import GroupedShard
from support.shards import topic


def test_figures_tell_what_was_granted_and_moved() -> None:
    shard = GroupedShard()
    shard.define(topic())
    shard.fill(1, b"a")
    shard.grant(1)
    shard.grant(2)
    shard.ack(1, 1)
    shard.ack(1, 1)
    shard.ack(2, 0, generation=9)
    figures = shard.core.stats()
    names = ("cursors", "queues_granted", "cursors_moved", "acks_fenced")
    assert [figures[name] for name in names] == [2, 2, 1, 1]
