"""Dealing: which queue gets which row, which sequences, and what moves when queues close."""

from __future__ import annotations

from collections import Counter

import pytest

from shardmq.actors.protocol.batch import check_batch, read_batch_header
from shardmq.actors.protocol.messages import TopicRoute
from shardmq.actors.protocol.slots import slot_of
from shardmq.client import Message, errors
from shardmq.client.produce.columns import columns_of, recovered
from shardmq.client.produce.dealing import Dealer
from shardmq.client.produce.receipts import EXPLICIT, KEYED, KEYLESS, Parcel, Part
from shardmq.client.routes import TopicMap
from support.fake_broker import FakeBroker


def route(queues: int = 4) -> TopicRoute:
    return FakeBroker().create("t", queues)


def deal(
    dealer: Dealer, topic: TopicMap, messages: list[Message], explicit: dict[int, int] | None = None
) -> tuple[Parcel, list[Part]]:
    parcel = Parcel("t", dealer.producer_id)
    parts = dealer.deal(parcel, columns_of(messages), explicit or {}, topic, (1, 2))
    return parcel, parts


def test_shares_differ_by_one_message_at_most_and_the_turn_goes_on() -> None:
    dealer, topic = Dealer(4, 0), TopicMap(route(4))
    counts: Counter[int] = Counter()
    for size in (1, 2, 3, 5, 9):
        _, parts = deal(dealer, topic, [Message("t", b"x")] * size)
        for part in parts:
            counts[part.queue.queue_id] += part.count
        assert max(counts.values()) - min(counts[queue] for queue in range(4)) <= 1


def test_parts_take_contiguous_growing_sequences() -> None:
    dealer, topic = Dealer(9, 0), TopicMap(route(4))
    heads = []
    for _ in range(3):
        _, parts = deal(dealer, topic, [Message("t", b"x")] * 10)
        heads += [check_batch(part.batch) for part in parts]
    following = 1
    for head in heads:
        assert (head.producer_id, head.first_sequence) == (9, following)
        following += head.count
    assert {(head.first_born_ms, head.last_born_ms) for head in heads} == {(1, 2)}


def test_keys_go_to_the_queue_of_their_slot_and_every_row_finds_its_place() -> None:
    dealer, topic = Dealer(1, 0), TopicMap(route(4))
    messages = [
        Message("t", b"%d" % n, ordering_key=None if n % 3 == 0 else f"k{n}") for n in range(30)
    ]
    parcel, parts = deal(dealer, topic, messages, explicit={5: 2, 6: 2})
    for index, message in enumerate(messages):
        part, row = parcel.place(index)
        assert recovered(part.batch).bodies[row] == message.body
        if index in (5, 6):
            assert (part.kind, part.queue.queue_id) == (EXPLICIT, 2)
        elif message.ordering_key is not None:
            assert (part.kind, part.version) == (KEYED, topic.version)
            assert part.queue.queue_id == slot_of(message.ordering_key) % 4
        else:
            assert (part.kind, part.version) == (KEYLESS, 0)
    assert sum(part.count for part in parts) == 30


def test_a_topic_without_writable_queue_fails_the_parcel() -> None:
    closed = route(1)
    closed.queues[0].writable = False
    parcel, parts = deal(Dealer(1, 0), TopicMap(closed), [Message("t", b"x")])
    assert parts == []
    assert parcel.settled
    assert isinstance(parcel.outcome(0), errors.SendFailed)


def test_a_part_whose_queue_stands_stays_there_with_new_sequences() -> None:
    dealer, topic = Dealer(1, 0), TopicMap(route(2))
    _, (part, *_) = deal(dealer, topic, [Message("t", b"x")] * 2)
    queue, before = part.queue, dealer.next_sequence
    born_ms = read_batch_header(part.batch).first_born_ms
    assert dealer.deal_again(part, topic) == [part]
    assert part.queue is queue
    head = read_batch_header(part.batch)
    assert (head.first_sequence, head.first_born_ms) == (before, born_ms)
    assert part.first_sequence == before, "another part of its lane may have got a new one, too"


@pytest.mark.parametrize("key", [None, "k"])
def test_a_part_of_a_closed_queue_is_dealt_to_an_open_one_with_new_sequences(
    key: str | None,
) -> None:
    broker = FakeBroker()
    row = broker.create("t", 3)
    dealer = Dealer(1, 0)
    parcel, parts = deal(
        dealer, TopicMap(row), [Message("t", b"%d" % n, ordering_key=key) for n in range(2)]
    )
    part = parts[0]
    broker.close_queue("t", part.queue.queue_id)
    before = dealer.next_sequence
    children = dealer.deal_again(part, TopicMap(row))
    assert all(child.queue.writable and child.queue is not part.queue for child in children)
    assert min(child.first_sequence for child in children) == before
    child, index = parcel.place(0)
    assert recovered(child.batch).bodies[index] == b"0"


def test_an_explicit_part_of_a_closed_queue_cannot_go_on() -> None:
    broker = FakeBroker()
    row = broker.create("t", 2)
    dealer = Dealer(1, 0)
    _, (part,) = deal(dealer, TopicMap(row), [Message("t", b"x")], explicit={0: 1})
    broker.close_queue("t", 1)
    assert dealer.deal_again(part, TopicMap(row)) == []


def test_a_message_alone_is_dealt_as_a_parcel_of_one_would_be() -> None:
    one, other, topic = Dealer(4, 0), Dealer(4, 0), TopicMap(route(4))
    for _ in range(6):
        message = Message("t", b"x", tag="a")
        parcel = Parcel("t", 4)
        part = one.deal_alone(parcel, columns_of([message]), topic, 1)
        _, (same,) = deal(other, topic, [message])
        assert part.queue == same.queue
        assert read_batch_header(part.batch).first_sequence == same.first_sequence
        assert parcel.parts == [part]
        assert not parcel.settled
