"""ACK: cursors go on, by who has the grant, durable before it is answered, one record a bucket."""

from __future__ import annotations

import pytest

from shardmq.actors.kernel.ports import Refusal
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import Ack, AckQueue
from shardmq.actors.protocol.verbs import Verb
from shardmq.shards import acks as module
from support.grouped import GROUP, GroupedShard
from support.shards import topic


@pytest.fixture
def shard() -> GroupedShard:
    under_test = GroupedShard()
    under_test.define(topic(numbers=(1, 2, 65, 129)))
    for queue in (1, 2, 65, 129):
        under_test.fill(queue, *[b"x"] * 10)
        under_test.grant(queue)
    return under_test


def test_an_ack_moves_the_floor_and_keeps_sparse_ranges(shard: GroupedShard) -> None:
    assert shard.ack(1, 2, [(4, 5), (7, 9)]).floor == 2
    cursor = shard.cursor(1)
    assert (cursor.floor, cursor.ranges) == (2, [(4, 5), (7, 9)])
    assert shard.ack(1, 0, [(2, 4)]).floor == 5
    assert shard.ack(1, 10).floor == 10
    assert shard.cursor(1).ranges == []


def test_a_cursor_never_goes_back_inside_a_generation(shard: GroupedShard) -> None:
    shard.ack(1, 6)
    assert shard.ack(1, 3).floor == 6
    shard.restart()
    assert shard.cursor(1).floor == 6


def test_an_ack_is_answered_once_it_is_durable_and_so_is_its_repetition(
    shard: GroupedShard,
) -> None:
    ack = Ack(group_id=GROUP, queues=[AckQueue(queue=1, generation=1, floor=3)])
    assert shard.turn([shard.letter(Verb.ACK, ack)]) == []
    assert shard.turn([shard.letter(Verb.ACK, ack)]) == []
    assert [one.header.queues[0].floor for one in shard.sync()] == [3, 3]


def test_an_ack_that_brings_nothing_new_writes_nothing(shard: GroupedShard) -> None:
    shard.ack(1, 3, [(5, 8)])
    end = shard.journal.end
    shard.ack(1, 2, [(6, 7)])
    shard.ack(1, 3, [(5, 8)])
    assert shard.journal.end == end


def test_queues_of_one_bucket_share_a_record(
    shard: GroupedShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues = [AckQueue(queue=one, generation=1, floor=4) for one in (1, 65, 129, 2)]
    written = []
    append = shard.journal.append_state

    def count(payload: bytes, *rest: object, **how: object) -> object:
        written.append(payload)
        return append(payload, *rest, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(shard.journal, "append_state", count)
    reply = shard.ask(Verb.ACK, Ack(group_id=GROUP, queues=queues))
    assert [one.floor for one in reply.header.queues] == [4, 4, 4, 4]
    assert len(written) == 2


@pytest.mark.parametrize("generation", [0, 2])
def test_any_other_generation_is_fenced(shard: GroupedShard, generation: int) -> None:
    result = shard.ack(1, 3, generation=generation)
    assert result.code == Code.FENCED
    assert shard.cursor(1).floor == 0
    assert shard.core.stats()["acks_fenced"] == 1


def test_who_has_no_grant_is_fenced(shard: GroupedShard) -> None:
    assert shard.ack(1, 3, group_id=8).code == Code.FENCED
    shard.grant(1, 2, member="")
    assert shard.ack(1, 3, generation=2).code == Code.FENCED


def test_queues_of_others_are_told_so(shard: GroupedShard) -> None:
    assert shard.ack(99, 3).code == Code.STALE_ROUTE


@pytest.mark.parametrize(("floor", "ranges"), [(11, []), (0, [(9, 11)]), (0, [(4, 4)])])
def test_what_cannot_have_been_read_is_not_acked(
    shard: GroupedShard, floor: int, ranges: list[tuple[int, int]]
) -> None:
    assert shard.ack(1, floor, ranges).code == Code.INVALID_ARGUMENT
    assert shard.cursor(1).floor == 0


@pytest.mark.parametrize("queues", [[], [1, 1]])
def test_queues_are_named_and_named_once(shard: GroupedShard, queues: list[int]) -> None:
    rows = [AckQueue(queue=queue, generation=1) for queue in queues]
    assert shard.ask(Verb.ACK, Ack(group_id=GROUP, queues=rows)).code == Code.BAD_REQUEST


def test_ranges_are_bounded_until_the_floor_moves(
    shard: GroupedShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ACK_RANGES_MAX", 2)
    assert shard.ack(1, 0, [(1, 2), (3, 4)]).code == Code.OK
    assert shard.ack(1, 0, [(5, 6)]).code == Code.BUSY
    assert shard.ack(1, 0, [(3, 5)]).code == Code.OK
    assert shard.ack(1, 2, [(7, 8)]).code == Code.OK


def test_what_retention_took_is_done(shard: GroupedShard, monkeypatch: pytest.MonkeyPatch) -> None:
    shard.ack(1, 1, [(4, 6)])
    monkeypatch.setattr(shard.journal, "earliest", lambda queue: 4)
    assert shard.ack(1, 1).floor == 6
    assert shard.cursor(1).floor == 6
    assert shard.ack(1, 1, [(8, 9)]).floor == 6
    assert shard.state.cursors.get(GROUP, 1).floor == 6  # type: ignore[union-attr]


def test_a_full_disk_takes_acks_and_a_damaged_log_none(
    shard: GroupedShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard.journal, "refusal", lambda _: Refusal.DISK_FULL)
    assert shard.ack(1, 1).code == Code.OK
    monkeypatch.setattr(shard.journal, "refusal", lambda _: Refusal.READ_ONLY)
    ack = Ack(group_id=GROUP, queues=[AckQueue(queue=1, generation=1, floor=3)])
    assert shard.ask(Verb.ACK, ack).code == Code.READ_ONLY


def test_a_group_of_many_queues_costs_little_for_each(shard: GroupedShard) -> None:
    ack = Ack(
        group_id=GROUP,
        queues=[AckQueue(queue=one, generation=1, floor=1) for one in (1, 65, 129)],
    )
    before = shard.journal.end
    shard.ask(Verb.ACK, ack)
    assert shard.journal.end - before < 100
