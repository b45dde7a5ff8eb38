"""ProducerCore: gathering, sealing, retries and what a changing topic does to order."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.protocol.batch import BatchView, read_batch_header
from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import ErrorReply, Produce
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import Message, errors
from shardmq.client.produce.columns import columns_of
from shardmq.client.produce.core import ProducerCore
from shardmq.client.produce.dealing import SHARE_MESSAGES
from shardmq.client.produce.receipts import SendFuture
from support.clients import Wired


def put(wired: Wired, core: ProducerCore, message: Any, queue_id: int | None = None) -> SendFuture:
    future = core.add(message, queue_id, None)
    future = future or core.add_checked(message, queue_id, None, wired.now)
    assert future is not None, "the buffer has room"
    wired.run()
    return future


def produced(wired: Wired) -> list[tuple[Produce, list[bytes]]]:
    return [
        (decode_header(header, Produce), payload)
        for route, header, payload in wired.broker.seen
        if route.verb == Verb.PRODUCE
    ]


def stored(wired: Wired, topic: str) -> list[list[bytes]]:
    """Bodies in each queue, in order."""
    queues = []
    for row in wired.broker.topics[topic].queues:
        bodies: list[bytes] = []
        for *_, batch in wired.broker.queues[row.number].records:
            bodies += BatchView(batch, read_batch_header(batch)).bodies()
        queues.append(bodies)
    return queues


@pytest.fixture
def wired() -> Wired:
    wired = Wired()
    wired.broker.create("t", 4)
    return wired


def test_messages_gather_until_the_linger_is_over(wired: Wired) -> None:
    core = wired.producer()
    futures = [put(wired, core, Message("t", b"%d" % n)) for n in range(4 * SHARE_MESSAGES)]
    wired.advance(4.9)
    assert produced(wired) == []
    wired.advance(0.1)
    assert all(future.done() for future in futures)
    assert len(produced(wired)) == 2, "one request for each shard"


def test_keyless_messages_are_dealt_round_robin(wired: Wired) -> None:
    core = wired.producer()
    share = SHARE_MESSAGES + 5
    futures = [put(wired, core, Message("t", b"%d" % n)) for n in range(4 * share)]
    wired.advance(5)
    assert sorted(len(bodies) for bodies in stored(wired, "t")) == [share] * 4
    for number, future in enumerate(futures):
        receipt = future.result()
        assert stored(wired, "t")[receipt.queue_id][receipt.offset] == b"%d" % number
    more = [put(wired, core, Message("t", b"one")) for _ in range(1)]
    core.flush(wired.now)
    wired.run()
    assert more[0].result().queue_id == futures[0].result().queue_id, "the turn goes on"


def test_an_urged_message_leaves_at_once(wired: Wired) -> None:
    core = wired.producer(linger_ms=1_000.0)
    future = put(wired, core, Message("t", b"x"))
    core.urge("t", wired.now)
    wired.run()
    assert future.result().offset == 0


def test_keys_keep_their_queue_and_their_order(wired: Wired) -> None:
    core = wired.producer()
    for number in range(60):
        put(wired, core, Message("t", b"%d" % number, ordering_key=f"k{number % 7}"))
        wired.advance(1)
    wired.advance(50)
    place: dict[int, int] = {}
    for queue, bodies in enumerate(stored(wired, "t")):
        numbers = [int(body) for body in bodies]
        for key in range(7):
            of_key = [number for number in numbers if number % 7 == key]
            assert of_key == sorted(of_key)
            if of_key:
                assert place.setdefault(key, queue) == queue
    assert sorted(place) == list(range(7))


def test_an_explicit_queue_is_used_and_a_missing_one_refused(wired: Wired) -> None:
    core = wired.producer()
    future = put(wired, core, Message("t", b"x"), queue_id=3)
    wired.advance(5)
    assert future.result().queue_id == 3
    with pytest.raises(errors.InvalidArgument, match="queues 0 to 3, not 4"):
        core.add_checked(Message("t", b"x"), 4, None, wired.now)


def test_a_queue_named_before_the_route_is_known_fails_its_message_only(wired: Wired) -> None:
    core = wired.producer()
    bad = core.add_checked(Message("t", b"x"), 9, None, wired.now)
    good = core.add_checked(Message("t", b"y"), None, None, wired.now)
    wired.run()
    wired.advance(5)
    assert bad is not None
    assert good is not None
    assert isinstance(bad.exception(), errors.SendFailed)
    assert good.result().topic == "t"


def test_one_batch_is_in_flight_for_each_queue_and_later_ones_gather(wired: Wired) -> None:
    core = wired.producer()
    wired.broker.lose = lambda route: route.verb == Verb.PRODUCE
    put(wired, core, Message("t", b"0"), queue_id=1)
    wired.advance(5)
    for number in range(1, 5):
        put(wired, core, Message("t", b"%d" % number), queue_id=1)
        wired.advance(20)
    assert len(produced(wired)) == 1, "the answer to the first is still out"
    wired.broker.lose = lambda route: False
    wired.advance(1_000)
    wired.advance(10)
    assert stored(wired, "t")[1] == [b"0", b"1", b"2", b"3", b"4"]
    batches = [read_batch_header(payload[0]) for _, payload in produced(wired)]
    assert [head.count for head in batches][-1] == 2, "what waited left together"


def test_a_lost_reply_is_retried_with_the_same_bytes_and_stored_once(wired: Wired) -> None:
    core = wired.producer()
    wired.broker.lose = lambda route: route.verb == Verb.PRODUCE
    future = put(wired, core, Message("t", b"x"))
    wired.advance(6)
    wired.broker.lose = lambda route: False
    wired.advance(1_000)
    receipt = future.result()
    assert receipt.duplicate
    (_, first), (_, again) = produced(wired)
    assert first == again
    assert sum(len(bodies) for bodies in stored(wired, "t")) == 1


def test_an_unanswered_batch_is_unknown_and_the_lane_goes_on(wired: Wired) -> None:
    core = wired.producer()
    wired.broker.answer = lambda route, *_: "lost" if route.verb == Verb.PRODUCE else None
    lost = put(wired, core, Message("t", b"lost"), queue_id=0)
    wired.advance(2_000)
    late = put(wired, core, Message("t", b"late"), queue_id=0)
    wired.advance(1_100)
    with pytest.raises(errors.SendUnknown) as caught:
        lost.result()
    assert caught.value.retryable
    wired.broker.answer = lambda *_: None
    wired.advance(1_500)
    assert late.result().offset == 0


def test_without_a_broker_sends_fail_for_certain(wired: Wired) -> None:
    lonely = Wired(connected=False)
    core = lonely.producer()
    future = put(lonely, core, Message("t", b"x"))
    lonely.advance(3_000)
    assert isinstance(future.exception(), errors.SendFailed)
    assert core.idle


def test_a_missing_topic_is_told_as_such_and_can_be_created_later(wired: Wired) -> None:
    core = wired.producer()
    future = put(wired, core, Message("new", b"x"))
    error = future.exception()
    assert isinstance(error, errors.TopicNotFound)
    assert isinstance(error, errors.SendFailed)
    wired.broker.create("new", 1)
    future = put(wired, core, Message("new", b"x"))
    wired.advance(5)
    assert future.result().offset == 0


def test_a_refusal_for_good_fails_the_batch(wired: Wired) -> None:
    core = wired.producer()
    wired.broker.answer = lambda route, *_: (
        (Code.FORBIDDEN, ErrorReply(name="FORBIDDEN", message="may not write"))
        if route.verb == Verb.PRODUCE
        else None
    )
    future = put(wired, core, Message("t", b"x"))
    wired.advance(5)
    assert isinstance(future.exception(), errors.Forbidden)
    assert core.unreported_faults == 1


def test_closing_a_queue_moves_its_keys_in_order_and_stores_each_once(wired: Wired) -> None:
    core = wired.producer()
    numbers = range(40)
    for number in numbers:
        put(wired, core, Message("t", b"%d" % number, ordering_key=f"k{number % 9}"))
        if number == 20:
            wired.advance(5)
            wired.broker.close_queue("t", 1)
    wired.advance(500)
    queues = stored(wired, "t")
    assert sorted(int(body) for bodies in queues for body in bodies) == list(numbers)
    late = [int(body) for queue, bodies in enumerate(queues) if queue != 1 for body in bodies]
    for key in range(9):
        of_key = [number for number in late if number % 9 == key]
        assert of_key == sorted(of_key)
    assert core.idle


def test_keyless_and_keyed_parts_of_a_closed_queue_find_their_receipts(wired: Wired) -> None:
    core = wired.producer()
    put(wired, core, Message("t", b"first"))
    wired.advance(5)
    wired.broker.close_queue("t", 0)
    futures = [
        put(wired, core, Message("t", b"%d" % n, ordering_key=f"k{n}" if n % 2 else None))
        for n in range(20)
    ]
    wired.advance(500)
    for number, future in enumerate(futures):
        receipt = future.result()
        assert receipt.queue_id != 0
        assert stored(wired, "t")[receipt.queue_id][receipt.offset] == b"%d" % number


def test_small_parcels_take_turns_instead_of_being_cut_up(wired: Wired) -> None:
    core = wired.producer()
    chosen = []
    for _ in range(4):
        futures = [put(wired, core, Message("t", b"x")) for _ in range(20)]
        wired.advance(5)
        assert len({future.result().queue_id for future in futures}) == 1
        chosen.append(futures[0].result().queue_id)
    assert sorted(chosen) == [0, 1, 2, 3]


def test_an_explicit_queue_that_was_closed_fails_for_certain(wired: Wired) -> None:
    core = wired.producer()
    put(wired, core, Message("t", b"x"), queue_id=2)
    wired.advance(5)
    wired.broker.close_queue("t", 2)
    future = put(wired, core, Message("t", b"y"), queue_id=2)
    wired.advance(100)
    error = future.exception()
    assert isinstance(error, errors.SendFailed)
    assert error.code == Code.STALE_ROUTE


def test_a_topic_that_was_created_anew_takes_what_waited(wired: Wired) -> None:
    core = wired.producer()
    put(wired, core, Message("t", b"old"))
    wired.advance(5)
    del wired.broker.topics["t"]
    wired.broker.create("t", 2)
    futures = [put(wired, core, Message("t", b"%d" % n)) for n in range(2 * SHARE_MESSAGES)]
    wired.advance(500)
    offsets = sorted(future.result().offset for future in futures)
    assert offsets == sorted([*range(SHARE_MESSAGES)] * 2)


def test_a_full_buffer_takes_nothing_until_something_is_acknowledged(wired: Wired) -> None:
    core = wired.producer(buffer_bytes=4_000)
    wired.broker.answer = lambda route, *_: "lost" if route.verb == Verb.PRODUCE else None
    message = Message("t", b"x" * 968)
    taken = 0
    while core.add_checked(message, None, None, wired.now) is not None:
        taken += 1
        wired.run()
    assert taken == 4
    assert not core.can_add("t", 1_000)
    wired.broker.answer = lambda *_: None
    wired.advance(1_010)
    assert core.can_add("t", 1_000)


def test_sealed_columns_go_behind_what_the_topic_has_gathered(wired: Wired) -> None:
    core = wired.producer()
    put(wired, core, Message("t", b"first", ordering_key="k"))
    columns = columns_of([Message("t", b"second", ordering_key="k")])
    parcel = core.add_sealed("t", columns, 100, wired.now, wired.now.mono_ms + 3_000)
    wired.run()
    assert parcel is not None
    assert [bodies for bodies in stored(wired, "t") if bodies] == [[b"first", b"second"]]


def test_the_credit_of_the_session_is_never_exceeded(wired: Wired) -> None:
    core = wired.producer()
    wired.broker.answer = lambda route, *_: "lost" if route.verb == Verb.PRODUCE else None
    for _ in range(7):
        put(wired, core, Message("t", b"x" * (4 << 20)))
        core.flush(wired.now)
        wired.run()
    assert wired.core.in_flight_bytes <= 16 << 20
    wired.broker.answer = lambda *_: None
    wired.advance(1_600)
    assert core.idle
    assert sum(len(bodies) for bodies in stored(wired, "t")) == 7


def alone(wired: Wired, core: ProducerCore, message: Any) -> SendFuture | None:
    parcel = core.send_alone(message, wired.now, wired.now.mono_ms + 3_000)
    return None if parcel is None else SendFuture(parcel, 0, None)


def test_a_lone_message_leaves_at_once_and_in_turn(wired: Wired) -> None:
    core = wired.producer()
    put(wired, core, Message("t", b"first"))
    core.flush(wired.now)
    wired.run()
    for body in (b"1", b"2", b"3", b"4"):
        future = alone(wired, core, Message("t", body, tag="a"))
        assert future is not None
        wired.run()
        assert future.result(0).offset >= 0
    assert sorted(len(bodies) for bodies in stored(wired, "t")) == [1, 1, 1, 2]
    assert core.idle
    assert core.used_bytes() == 0


def test_a_lone_message_takes_the_long_way_where_the_short_one_could_break_a_rule(
    wired: Wired,
) -> None:
    core = wired.producer()
    assert alone(wired, core, Message("t", b"x")) is None, "the route is not known"
    put(wired, core, Message("t", b"x"))
    assert alone(wired, core, Message("t", b"y")) is None, "it would overtake what gathers"
    core.flush(wired.now)
    wired.run()
    assert alone(wired, core, Message("t", b"x", ordering_key="k")) is None
    assert alone(wired, wired.producer(buffer_bytes=64), Message("t", b"x" * 64)) is None
    with pytest.raises(errors.InvalidArgument):
        alone(wired, core, Message("t", b""))


def test_a_lone_message_waits_behind_what_its_queue_has_in_flight(wired: Wired) -> None:
    core = wired.producer()
    wired.broker.create("one", 1)
    put(wired, core, Message("one", b"0"))
    core.flush(wired.now)
    wired.run()
    futures = [alone(wired, core, Message("one", b"%d" % number)) for number in (1, 2, 3)]
    assert len(wired.core.outbox) == 1, "one batch in flight for each queue"
    wired.run()
    assert stored(wired, "one") == [[b"0", b"1", b"2", b"3"]]
    assert all(future is not None and future.done() for future in futures)


def test_a_lone_message_to_a_queue_that_closed_goes_on_elsewhere(wired: Wired) -> None:
    core = wired.producer()
    put(wired, core, Message("t", b"x"))
    core.flush(wired.now)
    wired.run()
    refused: list[int] = []

    def refuse_once(route: Any, header: bytes, payload: list[bytes]) -> Any:
        if route.verb == Verb.PRODUCE and not refused:
            refused.append(1)
            return Code.STALE_ROUTE, ErrorReply(name="STALE_ROUTE", message="moved")
        return None

    wired.broker.answer = refuse_once
    future = alone(wired, core, Message("t", b"y"))
    assert future is not None
    wired.run()
    wired.advance(1_000)
    assert future.result(0).offset >= 0
    assert core.idle
