"""GRANT: who reads what, where a cursor starts, what a reset does, which groups are forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.kernel.ports import Refusal
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import Grant, GrantQueue, Start
from shardmq.actors.protocol.verbs import Verb
from support.grouped import GROUP, GroupedShard
from support.shards import batch, topic


@pytest.fixture
def shard() -> GroupedShard:
    under_test = GroupedShard()
    under_test.define(topic(numbers=(1, 2, 3, 65)))
    return under_test


def states(shard: GroupedShard) -> int:
    """How far the log has got."""
    return shard.journal.end


def test_a_first_grant_makes_a_cursor_at_its_start(shard: GroupedShard) -> None:
    shard.fill(1, b"a", b"b")
    result = shard.grant(1, 5, start=Start(at="latest"))
    assert (result.code, result.generation, result.before, result.floor) == (200, 5, None, 2)
    cursor = shard.cursor(1)
    assert (cursor.generation, cursor.member, cursor.floor) == (5, "ann", 2)


@pytest.mark.parametrize(
    ("start", "floor"),
    [
        (Start(at="earliest"), 0),
        (Start(at="latest"), 3),
        (Start(at="offset", offset=1), 1),
        (Start(at="offset", offset=99), 3),
        (Start(at="time", time_ms=0), 0),
        (Start(at="time", time_ms=1 << 60), 3),
    ],
)
def test_a_start_is_resolved_once_and_stays(shard: GroupedShard, start: Start, floor: int) -> None:
    for body in (b"a", b"b", b"c"):
        shard.fill(1, body)
    assert shard.grant(1, start=start).floor == floor
    shard.fill(1, b"later")
    shard.restart()
    assert shard.cursor(1).floor == floor


def test_a_time_finds_the_first_message_stored_then_or_later(shard: GroupedShard) -> None:
    shard.fill(1, b"before")
    shard.pass_time(1_000)
    shard.fill(1, b"then")
    now_ms = shard.clock.now().wall_ms
    assert shard.grant(1, start=Start(at="time", time_ms=now_ms)).floor == 1


def test_what_is_not_durable_is_no_place_to_start_behind(shard: GroupedShard) -> None:
    shard.fill(1, b"durable")
    shard.turn([shard.produce_letter((1, batch()), ack="none")])
    grant = Grant(group_id=GROUP, queues=[GrantQueue(queue=1, generation=1, member="ann")])
    shard.turn([shard.letter(Verb.GRANT, grant)])
    (granted,) = (one for one in shard.sync() if hasattr(one.header, "queues"))
    assert granted.header.queues[0].floor == 1


def test_a_grant_is_answered_once_it_is_durable(shard: GroupedShard) -> None:
    grant = Grant(group_id=GROUP, queues=[GrantQueue(queue=1, generation=1, member="ann")])
    assert shard.turn([shard.letter(Verb.GRANT, grant)]) == []
    again = shard.turn([shard.letter(Verb.GRANT, grant)])
    assert again == []
    assert [one.code for one in shard.sync()] == [200, 200]


def test_the_same_grant_again_writes_nothing(shard: GroupedShard) -> None:
    shard.grant(1, 5)
    shard.fill(1, b"a", b"b")
    shard.ack(1, 1, generation=5)
    end = states(shard)
    result = shard.grant(1, 5, start=Start(at="latest"), reset=True)
    assert (result.code, result.generation, result.floor) == (200, 5, 1)
    assert states(shard) == end


def test_an_older_grant_is_fenced_and_told_the_one_in_force(shard: GroupedShard) -> None:
    shard.grant(1, 5)
    result = shard.grant(1, 4, member="bob")
    assert (result.code, result.generation) == (Code.FENCED, 5)
    assert shard.cursor(1).member == "ann"


def test_a_later_grant_keeps_the_cursor(shard: GroupedShard) -> None:
    shard.fill(1, b"a", b"b", b"c")
    shard.grant(1)
    shard.ack(1, 1)
    result = shard.grant(1, 2, member="bob", start=Start(at="latest"))
    assert (result.before, result.floor) == (1, 1)
    assert shard.cursor(1).member == "bob"


def test_a_reset_moves_the_cursor_back_and_forgets_its_ranges(shard: GroupedShard) -> None:
    shard.fill(1, b"a", b"b", b"c", b"d")
    shard.grant(1)
    shard.ack(1, 2, [(3, 4)])
    result = shard.grant(1, 2, start=Start(at="offset", offset=1), reset=True)
    assert (result.before, result.floor) == (2, 1)
    assert (shard.cursor(1).floor, shard.cursor(1).ranges) == (1, [])


def test_a_dry_run_only_tells(shard: GroupedShard) -> None:
    shard.fill(1, b"a", b"b", b"c")
    end = states(shard)
    fresh = shard.grant(1, 9, dry_run=True, start=Start(at="latest"))
    assert (fresh.before, fresh.floor) == (None, 3)
    assert states(shard) == end
    shard.grant(1)
    known = shard.grant(1, 9, dry_run=True, reset=True, start=Start(at="latest"))
    assert (known.before, known.floor, known.generation) == (0, 3, 1)
    assert shard.cursor(1).floor == 0


def test_queues_of_others_are_told_apart_from_the_rest(shard: GroupedShard) -> None:
    queues = [GrantQueue(queue=queue, generation=1, member="ann") for queue in (99, 1)]
    reply = shard.ask(Verb.GRANT, Grant(group_id=GROUP, queues=queues))
    assert [one.code for one in reply.header.queues] == [Code.STALE_ROUTE, Code.OK]
    assert shard.grant(99, dry_run=True).code == Code.STALE_ROUTE


@pytest.mark.parametrize("how", [{"expression": "a ||"}, {"generation": 0}])
def test_what_makes_no_sense_is_refused_for_its_queue(
    shard: GroupedShard, how: dict[str, Any]
) -> None:
    assert shard.grant(1, **how).code == Code.INVALID_ARGUMENT
    assert shard.cursor(1).code == Code.GROUP_NOT_FOUND


@pytest.mark.parametrize(("group_id", "queues"), [(0, [1]), (GROUP, [1, 1])])
def test_a_grant_names_its_group_and_each_queue_once(
    shard: GroupedShard, group_id: int, queues: list[int]
) -> None:
    rows = [GrantQueue(queue=queue, generation=1) for queue in queues]
    reply = shard.ask(Verb.GRANT, Grant(group_id=group_id, queues=rows))
    assert reply.code == Code.BAD_REQUEST


def test_queues_of_one_bucket_share_a_record(shard: GroupedShard) -> None:
    before = shard.journal.end
    shard.grant(1)
    one = shard.journal.end - before
    rows = [GrantQueue(queue=queue, generation=2, member="ann") for queue in (1, 65)]
    shard.ask(Verb.GRANT, Grant(group_id=GROUP, group="billing", queues=rows))
    assert shard.journal.end - before - one < 2 * one


def test_groups_that_are_not_named_are_forgotten(shard: GroupedShard) -> None:
    for group_id in (7, 8, 9):
        shard.grant(1, group_id=group_id)
        shard.grant(65, group_id=group_id)
    shard.ask(Verb.GRANT, Grant(live_group_ids=[8]))
    codes = [shard.cursor(queue, group_id=one).code for one in (7, 8, 9) for queue in (1, 65)]
    assert codes == [415, 415, 200, 200, 415, 415]
    shard.restart()
    assert len(shard.state.cursors) == 2


def test_a_group_that_is_granted_something_lives(shard: GroupedShard) -> None:
    shard.grant(1)
    rows = [GrantQueue(queue=2, generation=1, member="ann")]
    shard.ask(Verb.GRANT, Grant(group_id=GROUP, queues=rows, live_group_ids=[]))
    assert shard.cursor(1).code == Code.OK


def test_a_coordinator_that_forgot_makes_nothing_forgotten(shard: GroupedShard) -> None:
    shard.grant(1)
    reply = shard.ask(Verb.GRANT, Grant(live_group_ids=[], group_id_max=GROUP - 1))
    assert reply.code == Code.INVALID_ARGUMENT
    assert shard.cursor(1).code == Code.OK
    shard.ask(Verb.GRANT, Grant(live_group_ids=[], group_id_max=GROUP))
    assert shard.cursor(1).code == Code.GROUP_NOT_FOUND


def test_a_word_that_was_overtaken_is_not_obeyed(shard: GroupedShard) -> None:
    shard.grant(1)
    late = shard.letter(Verb.GRANT, Grant(live_group_ids=[]), request_id=0)
    (reply,) = shard.turn([late])
    assert reply.code == Code.FENCED
    assert shard.cursor(1).code == Code.OK


@pytest.mark.parametrize(
    ("refusal", "code"), [(Refusal.READ_ONLY, Code.READ_ONLY), (Refusal.BUSY, Code.BUSY)]
)
def test_a_shard_that_takes_nothing_says_when_to_come_again(
    shard: GroupedShard, monkeypatch: pytest.MonkeyPatch, refusal: Refusal, code: Code
) -> None:
    monkeypatch.setattr(shard.journal, "refusal", lambda _: refusal)
    rows = [GrantQueue(queue=1, generation=1, member="ann")]
    reply = shard.ask(Verb.GRANT, Grant(group_id=GROUP, queues=rows))
    assert reply.code == code
    assert reply.header.retry_after_ms > 0


def test_cursors_go_with_their_topic(shard: GroupedShard) -> None:
    shard.grant(1)
    shard.define(live=[])
    assert len(shard.state.cursors) == 0


def test_a_restart_finds_what_was_decided(shard: GroupedShard) -> None:
    shard.fill(1, b"a", b"b", b"c")
    shard.grant(1)
    shard.grant(65, 4, member="bob")
    shard.ack(1, 1, [(2, 3)])
    live = shard.digests()
    shard.restart()
    assert shard.digests() == live
    assert shard.cursor(1).ranges == [(2, 3)]
