"""Fetcher: what is asked for, what is believed, what is delivered; on a manual clock."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.limits import REQUEST_QUEUES_MAX
from shardmq.actors.protocol.messages import ErrorReply, Fetch, FetchReply, FetchResult
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import errors
from shardmq.client.consume.cursor import Cursor
from support.reading import Consumer


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


def test_one_fetch_for_each_shard_names_all_its_queues(consumer: Consumer) -> None:
    consumer.assign(0, 1, 2, 3)
    consumer.assign()
    last = {tuple(sorted(row.queue for row in fetch.queues)) for fetch in consumer.fetches()[-2:]}
    assert {len(queues) for queues in last} == {2}
    assert consumer.read() == []


def test_ten_thousand_queues_of_a_shard_are_all_read_and_none_waits_for_its_turn() -> None:
    consumer = Consumer(queues=10_000, shards=1)
    for queue_id in (0, 5_000, 9_999):
        consumer.store(b"%d" % queue_id, queue_id=queue_id)
    consumer.assign(*range(10_000))
    assert sorted(consumer.read()) == [b"0", b"5000", b"9999"]
    parked = [fetch for _, fetch in consumer.wired.broker.parked.values()]
    assert max(len(fetch.queues) for fetch in parked) <= REQUEST_QUEUES_MAX
    named = [row.queue for fetch in parked for row in fetch.queues]
    assert sorted(named) == [row.number for row in consumer.route.queues]
    consumer.store(b"late", queue_id=4_500)
    assert consumer.read() == [b"late"]


def test_the_work_for_a_message_does_not_grow_with_the_number_of_queues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at: list[int] = []
    wants_more: Any = Cursor.wants_more.fget  # type: ignore[attr-defined]

    def counted(cursor: Cursor) -> bool:
        looked_at.append(cursor.queue.number)
        return bool(wants_more(cursor))

    consumer = Consumer(queues=500)
    for queue_id in range(500):
        consumer.store(b"%d" % queue_id, queue_id=queue_id)
    monkeypatch.setattr(Cursor, "wants_more", property(counted))
    consumer.assign(*range(500))
    assert len(consumer.read(500)) == 500
    fetched = sum(len(fetch.queues) for fetch in consumer.fetches())
    assert len(looked_at) <= fetched + 500 < 5_000


def test_a_seek_of_all_queues_replaces_what_is_parked_once() -> None:
    consumer = Consumer(queues=100, shards=1)
    consumer.assign(*range(100))
    before = len(consumer.fetches())
    for cursor in consumer.fetcher.cursors():
        consumer.wired.broker.queues[cursor.queue.number].latest = 9
    places = [(cursor, 9) for cursor in consumer.fetcher.cursors()]
    consumer.fetcher.seek_all(places, consumer.wired.now)
    consumer.wired.run()
    assert len(consumer.fetches()) == before + 1
    assert {row.offset for row in consumer.fetches()[-1].queues} == {9}


def test_messages_come_in_order_and_the_next_fetch_is_in_flight_at_once(
    consumer: Consumer,
) -> None:
    consumer.store(b"a", b"b")
    consumer.assign(0)
    consumer.store(b"c")
    assert len(consumer.wired.broker.parked) == 1
    assert consumer.read() == [b"a", b"b", b"c"]
    assert consumer.cursor(0).position == 3


def test_a_partly_read_batch_goes_on_where_it_stopped(consumer: Consumer) -> None:
    consumer.store(*[b"%d" % n for n in range(10)])
    consumer.assign(0)
    assert consumer.read(3) == [b"0", b"1", b"2"]
    assert consumer.cursor(0).position == 3
    assert consumer.read(3) == [b"3", b"4", b"5"]
    assert consumer.read() == [b"6", b"7", b"8", b"9"]


def test_reading_starts_in_the_middle_of_a_batch(consumer: Consumer) -> None:
    consumer.store(*[b"%d" % n for n in range(10)])
    consumer.assign(0, offset=7)
    assert consumer.read() == [b"7", b"8", b"9"]


def test_a_seek_makes_what_is_held_and_what_is_in_flight_old_news(consumer: Consumer) -> None:
    consumer.store(b"a", b"b", b"c")
    consumer.assign(0)
    consumer.fetcher.seek(consumer.cursor(0), 1, consumer.wired.now)
    consumer.wired.run()
    assert consumer.read() == [b"b", b"c"]
    consumer.fetcher.seek(consumer.cursor(0), 2, consumer.wired.now)
    consumer.fetcher.seek(consumer.cursor(0), 0, consumer.wired.now)
    consumer.wired.run()
    assert consumer.read() == [b"a", b"b", b"c"]


def test_a_parked_fetch_is_replaced_under_the_same_id(consumer: Consumer) -> None:
    consumer.assign(0)
    consumer.store(b"x", queue_id=2)
    consumer.assign(2)
    ids = [r.request_id for r, *_ in consumer.wired.broker.seen if r.verb == Verb.FETCH]
    assert ids[0] == ids[1]
    assert consumer.read() == [b"x"]


def test_an_answer_to_the_replaced_fetch_is_not_believed(consumer: Consumer) -> None:
    for body in (b"a", b"b", b"c"):
        consumer.store(body)
    consumer.assign(0, offset=3)
    consumer.fetcher.seek(consumer.cursor(0), 1, consumer.wired.now)
    consumer.wired.drop()  # the replacement is on its way; the answer to the old one comes first
    (parked,) = consumer.wired.broker.parked.values()
    consumer.store(b"d")
    assert parked[1].queues[0].offset == 3
    assert consumer.read() == [b"b", b"c", b"d"]


def test_a_paused_queue_delivers_nothing_and_goes_on_after_resume(consumer: Consumer) -> None:
    consumer.store(b"a")
    consumer.store(b"z", queue_id=1)
    consumer.assign(0, 1)
    consumer.fetcher.pause(consumer.cursor(0))
    assert consumer.read() == [b"z"]
    assert not consumer.fetcher.has_news
    consumer.fetcher.resume(consumer.cursor(0), consumer.wired.now)
    consumer.wired.run()
    assert consumer.read() == [b"a"]


def test_no_more_is_fetched_than_the_buffer_holds() -> None:
    consumer = Consumer(buffer_bytes=400, fetch_bytes=200)
    for _ in range(10):
        consumer.store(b"x" * 200)
    consumer.assign(0)
    assert len(consumer.fetches()) == 2, "the buffer is full: one batch was below it, two are over"
    while consumer.read(1):
        pass
    assert consumer.cursor(0).position == 10


def test_an_offset_out_of_range_is_an_error_until_the_queue_is_sought(consumer: Consumer) -> None:
    consumer.store(b"a")
    queue = consumer.wired.broker.queue("t", 0)
    queue.earliest = queue.latest = 50
    consumer.assign(0, offset=7)
    for _ in range(2):
        with pytest.raises(errors.OffsetOutOfRange) as caught:
            consumer.read()
        assert (caught.value.offset, caught.value.earliest) == (7, 50)
    consumer.fetcher.seek(consumer.cursor(0), 50, consumer.wired.now)
    consumer.wired.run()
    assert consumer.read() == []


@pytest.mark.parametrize(("policy", "offset"), [("earliest", 10), ("latest", 20)])
def test_a_policy_goes_on_where_it_says(policy: str, offset: int) -> None:
    consumer = Consumer(on_out_of_range=policy)
    queue = consumer.wired.broker.queue("t", 0)
    queue.earliest, queue.latest = 10, 20
    consumer.assign(0, offset=7)
    assert consumer.read() == []
    assert consumer.cursor(0).position == offset


def test_a_gap_at_the_end_is_passed_and_not_asked_for_again(consumer: Consumer) -> None:
    def answer(route: Any, header: bytes, _: list[bytes]) -> Any:
        if route.verb != Verb.FETCH:
            return None
        (row,) = decode_header(header, Fetch).queues
        if row.offset >= 5:
            return None
        return Code.OK, FetchReply(queues=[FetchResult(queue=row.queue, next_offset=5)])

    queue = consumer.wired.broker.queue("t", 0)
    queue.earliest, queue.latest = 0, 5
    consumer.wired.broker.answer = answer
    consumer.assign(0, offset=2)
    assert consumer.read() == []
    assert consumer.cursor(0).position == 5
    assert [row.offset for fetch in consumer.fetches() for row in fetch.queues] == [2, 5]


def test_a_topic_created_again_is_read_from_its_start(consumer: Consumer) -> None:
    consumer.store(b"a", b"b", b"c")
    consumer.assign(0)
    assert consumer.read() == [b"a", b"b", b"c"]
    del consumer.wired.broker.topics["t"]
    consumer.wired.broker.create("t", 4)
    consumer.wired.advance(30_000.0)
    consumer.producer = consumer.wired.producer()
    consumer.store(b"new")
    assert consumer.read() == [b"new"]
    assert consumer.cursor(0).position == 1


def test_what_is_held_of_a_topic_that_was_deleted_says_nothing_of_its_successor(
    consumer: Consumer,
) -> None:
    # Found by the simulator, seeds 4567 and 4873: old offsets moved the new queue's position.
    consumer.store(b"a", b"b", b"c")
    consumer.assign(0)
    now = consumer.wired.now
    in_hand = consumer.fetcher.next_item(now)
    assert in_hand is not None
    consumer.store(b"d", b"e")
    del consumer.wired.broker.topics["t"]
    consumer.wired.broker.create("t", 4)
    consumer.wired.advance(30_000.0)
    consumer.fetcher.give_back(in_hand, 1)
    assert consumer.cursor(0).position == 0
    consumer.producer = consumer.wired.producer()
    consumer.store(b"new")
    late = consumer.fetcher.next_item(now)
    assert late is not None
    assert [message.body for message in late.messages] == [b"new"]
    consumer.fetcher.done(in_hand, now)
    assert consumer.cursor(0).position == 0
    consumer.fetcher.done(late, now)
    assert consumer.cursor(0).position == 1


def damaged_reply(next_offset: int) -> Any:
    def answer(route: Any, header: bytes, _: list[bytes]) -> Any:
        if route.verb != Verb.FETCH:
            return None
        (row,) = decode_header(header, Fetch).queues
        if row.offset >= next_offset:
            return None
        result = FetchResult(queue=row.queue, code=Code.DAMAGED, next_offset=next_offset)
        return Code.OK, FetchReply(queues=[result])

    return answer


def test_a_damaged_record_is_named_and_the_next_call_goes_on_behind_it(
    consumer: Consumer,
) -> None:
    consumer.store(b"a", b"b", b"c")
    consumer.store(b"d")
    consumer.wired.broker.answer = damaged_reply(3)
    consumer.assign(0)
    with pytest.raises(errors.DamagedRecord) as caught:
        consumer.read()
    error = caught.value
    assert (error.topic, error.queue_id, error.offset, error.next_offset) == ("t", 0, 0, 3)
    assert consumer.read() == [b"d"]


def test_a_checksum_that_breaks_on_the_way_is_seen_by_the_client(consumer: Consumer) -> None:
    consumer.store(b"aaaa")
    consumer.store(b"bbbb")
    queue = consumer.wired.broker.queue("t", 0)
    consumer.assign(0, offset=2)
    base, count, batch = queue.records[0]
    handled = consumer.wired.broker.handle

    def corrupt(frames: list[bytes]) -> list[list[bytes]]:
        replies = handled(frames)
        return [[frame.replace(b"aaaa", b"aaab") for frame in reply] for reply in replies]

    consumer.wired.broker.handle = corrupt  # type: ignore[method-assign]
    consumer.fetcher.seek(consumer.cursor(0), 0, consumer.wired.now)
    consumer.wired.run()
    assert (base, count, b"aaaa" in batch) == (0, 1, True)
    with pytest.raises(errors.DamagedRecord, match="checksum"):
        consumer.read()
    assert consumer.read() == [b"bbbb"]


def test_what_was_read_before_an_error_is_delivered_first(consumer: Consumer) -> None:
    consumer.store(b"a")
    damaged = damaged_reply(5)
    consumer.wired.broker.queue("t", 0).latest = 5
    consumer.wired.broker.answer = lambda route, header, payload: (
        damaged(route, header, payload)
        if route.verb == Verb.FETCH and decode_header(header, Fetch).queues[0].offset
        else None
    )
    consumer.assign(0)
    assert consumer.read() == [b"a"]
    with pytest.raises(errors.DamagedRecord):
        consumer.read()
    assert consumer.cursor(0).position == 5


def test_a_refusal_for_good_is_raised(consumer: Consumer) -> None:
    consumer.wired.broker.answer = lambda route, *_: (
        (Code.FORBIDDEN, ErrorReply(name="FORBIDDEN", message="may not read"))
        if route.verb == Verb.FETCH
        else None
    )
    consumer.assign(0)
    with pytest.raises(errors.Forbidden, match="may not read"):
        consumer.read()


def test_a_lost_answer_is_fetched_again(consumer: Consumer) -> None:
    consumer.store(b"a")
    consumer.wired.broker.lose = lambda route: route.verb == Verb.FETCH
    consumer.assign(0)
    assert consumer.read() == []
    consumer.wired.broker.lose = lambda route: False
    consumer.wired.advance(12_000)
    assert consumer.read() == [b"a"]


def test_closing_forgets_what_is_in_flight(consumer: Consumer) -> None:
    consumer.assign(0, 1)
    consumer.fetcher.close()
    consumer.store(b"late")
    assert not consumer.fetcher.has_news
    assert consumer.wired.core.in_flight_bytes == 0
