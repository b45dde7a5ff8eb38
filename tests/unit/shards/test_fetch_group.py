"""FETCH for a group: the grant in force, fenced polls, and what the group selects."""

from __future__ import annotations

import pytest

from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_JSON
from shardmq.actors.protocol.group_messages import Grant, GrantQueue
from shardmq.actors.protocol.messages import Define, FetchReply
from shardmq.actors.protocol.verbs import Verb
from shardmq.shards import answers, filters
from support.grouped import GROUP, GroupedShard
from support.shards import Reply, batch, batches_in, topic


@pytest.fixture
def shard() -> GroupedShard:
    under_test = GroupedShard()
    under_test.define(topic(numbers=(1, 2, 3)))
    for queue in (1, 2, 3):
        under_test.grant(queue, expression="paid")
    return under_test


def fill(shard: GroupedShard, queue: int, *tags: str | None) -> None:
    """One batch with a message for each tag."""
    shard.fill(queue, *[b"x"] * len(tags), tags=tags)


def grant_letter(shard: GroupedShard, queue: int, generation: int, group_id: int = GROUP) -> Letter:
    one = GrantQueue(queue=queue, generation=generation, member="bob", expression="paid")
    return shard.letter(Verb.GRANT, Grant(group_id=group_id, group="billing", queues=[one]))


def of_session(replies: list[Reply], session: int) -> list[Reply]:
    return [one for one in replies if one.session == session]


# ------------------------------------------------------------------------------- fencing


@pytest.mark.parametrize("generation", [0, 1, 3])
def test_only_the_grant_in_force_reads(shard: GroupedShard, generation: int) -> None:
    shard.grant(1, 2, expression="paid")
    fill(shard, 1, "paid")
    result, payload = shard.group_fetch(1, 0, generation=generation)
    assert (result.code, payload) == (Code.FENCED, [])
    assert shard.group_fetch(1, 0, generation=2)[0].code == Code.OK


def test_fencing_is_said_at_once_and_queue_by_queue(shard: GroupedShard) -> None:
    shard.grant(2, 2)
    fill(shard, 1, "paid")
    (reply,) = shard.turn([shard.group_fetch_letter((1, 0), (2, 0), (3, 0), wait_ms=10_000)])
    codes = {one.queue: one.code for one in reply.header.queues}
    assert codes == {1: Code.OK, 2: Code.FENCED}
    (reply,) = shard.turn([shard.group_fetch_letter((2, 0), wait_ms=10_000)])
    assert reply.header.queues[0].code == Code.FENCED


def test_a_queue_without_a_grant_is_fenced(shard: GroupedShard) -> None:
    assert shard.group_fetch(1, 0, group_id=99)[0].code == Code.FENCED


def test_a_new_grant_wakes_and_fences_the_parked_poll_of_the_old_one(shard: GroupedShard) -> None:
    shard.turn([shard.group_fetch_letter((1, 0), (2, 0), wait_ms=10_000, session=8)])
    replies = shard.turn([grant_letter(shard, 2, 2)])
    (fenced,) = of_session(replies, 8)
    assert [(one.queue, one.code) for one in fenced.header.queues] == [(2, Code.FENCED)]
    assert shard.core.stats()["polls_parked"] == 0
    assert shard.core.stats()["fetches_fenced"] == 1


def test_a_new_grant_leaves_the_polls_of_others_alone(shard: GroupedShard) -> None:
    shard.grant(1, group_id=8)
    shard.turn([shard.group_fetch_letter((1, 0), wait_ms=10_000, session=8, group_id=8)])
    shard.turn([shard.fetch_letter((1, 0), wait_ms=10_000, session=9)])
    assert shard.turn([grant_letter(shard, 1, 2)]) == []
    assert shard.core.stats()["polls_parked"] == 2
    fill(shard, 1, "paid")
    assert shard.core.stats()["polls_parked"] == 0


def test_a_forgotten_group_reads_nothing_more(shard: GroupedShard) -> None:
    shard.turn([shard.group_fetch_letter((1, 0), wait_ms=10_000, session=8)])
    replies = shard.turn([shard.letter(Verb.GRANT, Grant(live_group_ids=[]))])
    assert of_session(replies, 8)[0].header.queues[0].code == Code.FENCED


def test_a_deleted_topic_is_no_question_of_grants(shard: GroupedShard) -> None:
    shard.turn([shard.group_fetch_letter((1, 0), wait_ms=10_000, session=8)])
    replies = shard.turn([shard.letter(Verb.DEFINE, Define(live_topic_ids=[]))])
    assert of_session(replies, 8)[0].header.queues[0].code == Code.STALE_ROUTE


# ------------------------------------------------------------------------------- filters


def test_batches_without_a_selected_message_are_passed(shard: GroupedShard) -> None:
    fill(shard, 1, "open", None)
    fill(shard, 1, "open", "paid")
    shard.fill(1, b"no tags at all")
    result, payload = shard.group_fetch(1, 0)
    assert (result.next_offset, result.frames) == (5, 1)
    (frame,) = batches_in(payload[0])
    assert frame[-2:] == b"xx"


def test_a_group_that_wants_all_gets_all(shard: GroupedShard) -> None:
    shard.grant(1, 2)
    fill(shard, 1, "open")
    shard.fill(1, b"none")
    result, payload = shard.group_fetch(1, 0, generation=2)
    assert (result.next_offset, len(batches_in(payload[0]))) == (2, 2)


def test_the_client_moves_on_although_nothing_was_for_it(shard: GroupedShard) -> None:
    fill(shard, 1, "open")
    result, payload = shard.group_fetch(1, 0)
    assert (result.code, result.frames, result.next_offset, payload) == (Code.OK, 0, 1, [])


def test_a_poll_waits_on_behind_what_is_not_for_it(shard: GroupedShard) -> None:
    fill(shard, 1, "open")
    assert shard.turn([shard.group_fetch_letter((1, 0), (2, 0), wait_ms=500)]) == []
    fill(shard, 1, "open", "open")
    assert shard.core.stats()["polls_parked"] == 1
    (reply,) = shard.pass_time(500)
    assert [(one.queue, one.next_offset) for one in reply.header.queues] == [(1, 3)]


def test_a_poll_that_found_nothing_gives_way_to_its_retry_that_is_parked(
    shard: GroupedShard,
) -> None:
    # Found by the simulator: both were parked under one key, and their end ended the shard.
    fill(shard, 1, "open")
    first = shard.group_fetch_letter((1, 0), wait_ms=500, session=8, request_id=5)
    retry = shard.group_fetch_letter((2, 0), wait_ms=500, session=8, request_id=5)
    assert shard.turn([first, retry]) == []
    assert shard.core.stats()["polls_parked"] == 1
    assert len(shard.pass_time(500)) == 1
    assert shard.core.stats()["polls_parked"] == 0


def test_a_poll_that_waited_on_is_answered_with_all_it_passed(shard: GroupedShard) -> None:
    fill(shard, 1, "open")
    shard.turn([shard.group_fetch_letter((1, 0), (2, 0), wait_ms=500, session=8)])
    produced = shard.produce_letter((2, batch([b"x"], tags=["paid"])))
    (reply,) = of_session(shard.turn([produced]) + shard.sync(), 8)
    told = sorted((one.queue, one.next_offset, one.frames) for one in reply.header.queues)
    assert told == [(1, 1, 0), (2, 1, 1)]
    assert shard.pass_time(1_000) == []


def test_a_poll_that_found_nothing_is_fenced_like_any_other(shard: GroupedShard) -> None:
    fill(shard, 1, "open")
    shard.turn([shard.group_fetch_letter((1, 0), (2, 0), wait_ms=500, session=8)])
    fill(shard, 1, "open")
    replies = shard.turn([grant_letter(shard, 1, 2)])
    assert of_session(replies, 8)[0].header.queues[0].code == Code.FENCED


def test_a_poll_is_parked_again_and_again_without_growing(shard: GroupedShard) -> None:
    letter = shard.group_fetch_letter((1, 0), (2, 0), (3, 0), wait_ms=10_000)
    shard.turn([letter])
    for _ in range(200):
        fill(shard, 1, "open")
    assert shard.core.stats()["polls_parked"] == 1
    for queue in (1, 2, 3):
        waiters = shard.core._serving.by_number[queue].waiters
        assert waiters is not None
        assert len(waiters.polls) == 1
    assert len(shard.core._polls._deadlines) == 1
    assert shard.core.stats()["batches_passed"] == 200


def test_a_long_search_is_cut_into_turns(
    shard: GroupedShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "SEARCH_COST_MAX", 3 * filters.BATCH_COST)
    monkeypatch.setattr("shardmq.shards.fetch.TURN_BYTES_MAX", 1)
    for _ in range(20):
        fill(shard, 1, "open")
    now = shard.clock.now()
    letter = shard.group_fetch_letter((1, 0), (2, 0), wait_ms=10_000)
    turns = 0
    assert shard.core.handle([letter], now) == []
    while shard.core.wake_at_ms == 0.0:
        assert shard.core.handle([], now) == []
        turns += 1
    assert 5 < turns < 12
    assert shard.core.stats()["polls_parked"] == 1
    (reply,) = shard.pass_time(10_000)
    assert [(one.queue, one.next_offset) for one in reply.header.queues] == [(1, 20)]


def test_a_search_through_many_queues_has_one_price(
    shard: GroupedShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = range(1, 101)
    shard.define(topic(numbers=numbers, version=2))
    for queue in numbers:
        shard.grant(queue, 2, expression="paid")
        fill(shard, queue, "open")
    monkeypatch.setattr(answers, "SEARCH_COST_MAX", 10 * filters.BATCH_COST)
    monkeypatch.setattr("shardmq.shards.fetch.TURN_BYTES_MAX", 1)
    wanted = [(queue, 0) for queue in numbers]
    letter = shard.group_fetch_letter(*wanted, generation=2, wait_ms=10_000)
    assert shard.core.handle([letter], shard.clock.now()) == []
    assert 0 < shard.core.stats()["batches_passed"] <= 10
    shard.turn()
    assert shard.core.stats()["batches_passed"] == 100
    assert shard.core.stats()["polls_parked"] == 1


def test_news_and_grants_that_come_during_a_long_search_are_not_missed(
    shard: GroupedShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "SEARCH_COST_MAX", 1)
    monkeypatch.setattr("shardmq.shards.fetch.TURN_BYTES_MAX", 1)
    for _ in range(4):
        fill(shard, 1, "open")
    now = shard.clock.now()
    letter = shard.group_fetch_letter((1, 0), (2, 0), wait_ms=10_000, session=8)
    assert shard.core.handle([letter], now) == []
    frame = batch([b"x"], tags=["paid"])
    replies = shard.turn([shard.produce_letter((2, frame), session=9)]) + shard.sync()
    replies += shard.turn()
    (reply,) = of_session(replies, 8)
    assert {one.queue: one.next_offset for one in reply.header.queues} == {1: 4, 2: 1}

    assert shard.core.handle([shard.group_fetch_letter((1, 0), (3, 0), wait_ms=9)], now) == []
    replies = shard.turn([grant_letter(shard, 3, 2)])
    assert (3, Code.FENCED) in [(one.queue, one.code) for one in replies[0].header.queues]


def test_a_search_that_is_out_of_time_tells_how_far_it_came(
    shard: GroupedShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "SEARCH_COST_MAX", 1)
    for _ in range(4):
        fill(shard, 1, "open")
    result, _ = shard.group_fetch(1, 0)
    assert 0 < result.next_offset < 4


def test_a_poll_for_which_there_is_no_room_any_more_is_told_how_far_it_came(
    shard: GroupedShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard.turn([shard.group_fetch_letter((1, 0), wait_ms=10_000, session=8)])
    monkeypatch.setattr("shardmq.shards.polls.PARKED_POLLS_MAX", 0)
    produced = shard.produce_letter((1, batch([b"x"], tags=["open"])))
    (reply,) = of_session(shard.turn([produced]) + shard.sync(), 8)
    assert [(one.code, one.next_offset) for one in reply.header.queues] == [(Code.OK, 1)]


def test_who_stops_sends_searching_polls_home(shard: GroupedShard) -> None:
    fill(shard, 1, "open")
    shard.turn([shard.group_fetch_letter((1, 0), wait_ms=10_000)])
    shard.turn([shard.produce_letter((1, batch([b"x"], tags=["open"])), ack="none")])
    assert len(shard.core.stop(shard.clock.now())) == 1
    assert shard.core.drained()


def test_a_woken_poll_is_not_parked_again_by_who_stops(shard: GroupedShard) -> None:
    shard.turn([shard.group_fetch_letter((1, 0), wait_ms=10_000)])
    shard.core._fetching.wake([shard.core._serving.by_number[1]])
    assert len(shard.core.stop(shard.clock.now())) == 1
    assert shard.core.drained()


def test_an_empty_poll_of_a_group_expires_empty(shard: GroupedShard) -> None:
    shard.turn([shard.group_fetch_letter((1, 0), wait_ms=500)])
    (reply,) = shard.pass_time(500)
    assert reply.header == FetchReply()


def test_the_credit_holds_for_what_was_found(shard: GroupedShard) -> None:
    for _ in range(10):
        shard.fill(1, b"x" * 1_000, tags=["open"])
        shard.fill(1, b"x" * 1_000, tags=["paid"])
    result, payload = shard.group_fetch(1, 0, bytes_max=4_000)
    assert 2_000 < len(payload[0]) <= 4_000
    assert len(batches_in(payload[0])) == 3
    again, payload = shard.group_fetch(1, result.next_offset)
    assert (again.next_offset, len(batches_in(payload[0]))) == (20, 7)


# ------------------------------------------------------------------------------- JSON


def test_a_json_client_gets_the_selected_messages_alone(shard: GroupedShard) -> None:
    fill(shard, 1, "open", "paid", None, "paid")
    fill(shard, 1, "open")
    result, _ = shard.group_fetch(1, 0, flags=FLAG_JSON)
    assert [one.offset for one in result.messages] == [1, 3]
    assert result.next_offset == 5


def test_a_json_client_is_fenced_and_passes_batches_too(shard: GroupedShard) -> None:
    fill(shard, 1, "open")
    assert shard.group_fetch(1, 0, flags=FLAG_JSON)[0].next_offset == 1
    result, _ = shard.group_fetch(1, 0, generation=5, flags=FLAG_JSON)
    assert (result.code, result.messages) == (Code.FENCED, [])
