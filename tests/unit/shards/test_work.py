"""Work: the verbs of work queues answer at a shard, with their figures."""

from __future__ import annotations

from shardmq.actors.protocol.codes import Code
from support.retrying import QUEUE
from support.work_shard import WorkingShard


def test_the_figures_of_work_queues_are_told() -> None:
    shard = WorkingShard()
    shard.prepare()
    shard.fill(QUEUE, b"a", b"b", b"c")
    shard.turn()
    shard.receive(2)
    assert shard.codes(shard.item(0), shard.item(1, receipt=99)) == [
        Code.OK, Code.RECEIPT_EXPIRED,
    ]  # fmt: skip
    shard.turn([shard.receive_letter(0, group_id=99, wait_ms=50)])
    stats = shard.core.stats()
    told = ("work_queues", "handouts", "received", "settled", "expired", "receives_parked")
    assert [stats[name] for name in told] == [2, 1, 2, 1, 1, 1]
    assert stats["internal_errors"] == 0
    assert shard.core.wake_at_ms == shard.clock.now().mono_ms + 50
