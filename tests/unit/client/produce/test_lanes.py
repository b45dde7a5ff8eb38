"""Lanes: one batch in flight for each queue, requests by shard, retries part by part."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import Produce, ProduceReply, ProduceResult, QueueRoute
from shardmq.actors.protocol.verbs import Verb
from shardmq.client.produce.lanes import REQUEST_BYTES, Lanes
from shardmq.client.produce.receipts import Parcel, Part
from support.clients import Wired


class Bench:
    """Lanes over a broker whose answers a test writes itself."""

    def __init__(self) -> None:
        self.wired = Wired()
        self.refused: list[Part] = []
        self.settled: list[Part] = []
        self.lanes = Lanes(
            self.wired.core,
            "synced",
            lambda part, now: self.refused.append(part),
            lambda part, now: self.settled.append(part),
        )
        self.code_of: dict[int, list[int]] = {}
        self.wired.broker.answer = self._answer

    def part(self, number: int, shard: int = 0, size: int = 10, topic: str = "t") -> Part:
        queue = QueueRoute(queue_id=number, number=number, shard=shard)
        part = Part(Parcel(topic, 1), queue, 1)
        part.batch = b"x" * size
        part.deadline_ms = self.wired.now.mono_ms + 3_000
        self.lanes.put(part)
        return part

    def pump(self) -> None:
        self.lanes.pump(self.wired.now)
        self.wired.run()

    def requests(self) -> list[list[int]]:
        return [
            [row.queue for row in decode_header(header, Produce).queues]
            for route, header, _ in self.wired.broker.seen
            if route.verb == Verb.PRODUCE
        ]

    def _answer(self, route: Any, header: bytes, payload: list[bytes]) -> Any:
        if route.verb != Verb.PRODUCE:
            return None
        results = []
        for row in decode_header(header, Produce).queues:
            codes = self.code_of.get(row.queue)
            code = codes.pop(0) if codes else Code.OK
            if code == 0:
                return "lost"
            results.append(ProduceResult(queue=row.queue, code=code, base_offset=5))
        return Code.OK, ProduceReply(queues=results)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_queues_of_one_shard_travel_together(bench: Bench) -> None:
    for number in range(6):
        bench.part(number, shard=number % 2)
    bench.pump()
    assert bench.requests() == [[0, 2, 4], [1, 3, 5]]
    assert bench.lanes.idle
    assert {part.base_offset for part in bench.settled} == {5}
    assert {part.batch for part in bench.settled} == {b""}, "the bytes are let go"


def test_a_second_batch_of_a_queue_waits_for_the_answer_to_the_first(bench: Bench) -> None:
    first, second = bench.part(1), bench.part(1)
    bench.lanes.pump(bench.wired.now)
    assert (bench.lanes.in_flight("t"), bench.lanes.waiting("t")) == (1, 1)
    bench.wired.run()
    assert bench.settled == [first, second]
    assert bench.requests() == [[1], [1]]


def test_a_request_is_bounded_in_bytes(bench: Bench) -> None:
    for number in range(4):
        bench.part(number, size=REQUEST_BYTES // 2)
    bench.pump()
    assert bench.requests() == [[0, 1], [2, 3]]


def test_only_the_part_that_was_refused_is_sent_again(bench: Bench) -> None:
    bench.code_of[1] = [Code.BUSY]
    for number in range(3):
        bench.part(number)
    bench.pump()
    bench.wired.advance(100)
    assert bench.requests() == [[0, 1, 2], [1]]
    assert len(bench.settled) == 3


def test_a_retried_batch_is_not_overtaken_by_the_next_of_its_queue(bench: Bench) -> None:
    bench.code_of[1] = [Code.BUSY, Code.BUSY]
    first, second = bench.part(1), bench.part(1)
    bench.pump()
    bench.wired.advance(200)
    assert bench.settled == [first, second]


def test_an_old_route_is_handed_over_with_the_part_at_the_head_of_its_lane(bench: Bench) -> None:
    bench.code_of[1] = [Code.STALE_ROUTE]
    first, second = bench.part(1), bench.part(1)
    bench.lanes.frozen.add("other")
    bench.lanes.pump(bench.wired.now)
    bench.lanes.frozen.add("t")
    bench.wired.run()
    assert bench.refused == [first]
    assert bench.lanes.take_waiting("t") == [first, second]
    assert bench.lanes.idle


def test_an_old_route_after_an_unanswered_attempt_is_unknown(bench: Bench) -> None:
    bench.code_of[1] = [0, Code.STALE_ROUTE]
    part = bench.part(1)
    bench.pump()
    bench.wired.advance(1_100)
    assert bench.refused == []
    assert part.fault is not None
    assert part.fault.unknown, "the first attempt may have stored it before the queue closed"


def test_frozen_topics_do_not_hold_up_others(bench: Bench) -> None:
    bench.lanes.frozen.add("t")
    bench.part(1)
    other = bench.part(2, topic="other")
    bench.pump()
    assert bench.settled == [other]
    assert bench.lanes.waiting("t") == 1


def test_what_waits_past_its_deadline_fails_for_certain(bench: Bench) -> None:
    bench.lanes.frozen.add("t")
    part = bench.part(1)
    bench.pump()
    bench.wired.advance(3_300)
    assert part.fault is not None
    assert not part.fault.unknown


def test_what_never_left_fails_for_certain(bench: Bench) -> None:
    bench.wired.core.disconnected(bench.wired.now)
    part = bench.part(1)
    bench.pump()
    bench.wired.advance(3_300)
    assert part.fault is not None
    assert part.fault.code == Code.TIMED_OUT
    assert not part.fault.unknown, "the connection was down all the time"


def test_an_answer_that_names_other_queues_is_not_believed(bench: Bench) -> None:
    part = bench.part(1)
    bench.wired.broker.answer = lambda route, *_: (
        (Code.OK, ProduceReply(queues=[ProduceResult(queue=99)]))
        if route.verb == Verb.PRODUCE
        else None
    )
    bench.pump()
    bench.wired.advance(3_000)
    assert part.fault is not None
    assert part.fault.unknown


def test_a_part_alone_is_retried_like_any_other(bench: Bench) -> None:
    bench.code_of[1] = [Code.BUSY]
    part = bench.part(1)
    bench.lanes.take_waiting("t")
    assert bench.lanes.send_alone(part, bench.wired.now)
    assert not bench.lanes.send_alone(part, bench.wired.now), "one batch in flight"
    bench.wired.run()
    assert not part.settled
    bench.wired.advance(1_000)
    assert part.settled
    assert part.fault is None
    assert bench.lanes.idle


def test_a_part_alone_does_not_leave_while_its_topic_is_frozen(bench: Bench) -> None:
    part = bench.part(1)
    bench.lanes.take_waiting("t")
    bench.lanes.frozen.add("t")
    assert not bench.lanes.send_alone(part, bench.wired.now)
