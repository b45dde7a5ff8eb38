"""Work groups: what a shard keeps of their queues. How they are served is in test_receive.py."""

from __future__ import annotations

from shardmq.actors.protocol.work_messages import EVERYBODY
from shardmq.shards.state.cursors import Cursors
from shardmq.shards.work_groups import WorkGroups
from support.grouped import GROUP
from support.retrying import QUEUE
from support.work_shard import WorkingShard


def cursors() -> Cursors:
    shard = WorkingShard()
    shard.prepare()
    return shard.state.cursors


def test_all_queues_of_everybody_are_found_at_the_start() -> None:
    groups = WorkGroups(cursors())
    assert len(groups) == 2
    work = groups.queue(GROUP, QUEUE)
    assert work is not None
    assert work in groups.group(GROUP).ready


def test_a_queue_that_is_granted_anew_again_and_again_is_kept_once() -> None:
    groups = WorkGroups(cursors())
    for _ in range(5):
        groups.granted(GROUP, QUEUE)
    assert len(groups) == len(groups.group(GROUP).ready) == 2


def test_a_group_without_queues_and_waiters_is_forgotten() -> None:
    known = cursors()
    groups = WorkGroups(known)
    before = groups.group(GROUP)
    groups.dropped([number for _, number, one in known.all() if one.member == EVERYBODY])
    assert len(groups) == 0
    assert groups.group(GROUP) is not before
