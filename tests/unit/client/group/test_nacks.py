"""Nacker: what failed is told in batches, again while nobody answers, and never for others."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codec import decode_header, encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import Route
from shardmq.actors.protocol.limits import HEADER_BYTES_MAX
from shardmq.actors.protocol.messages import ErrorReply
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import errors
from shardmq.client.group.nacks import Nacker
from shardmq.client.group.tracker import Tracker
from support.clients import Wired


class Nacks:
    """A nacker joined to a fake broker that granted 2 queues on 2 shards."""

    def __init__(self) -> None:
        self.wired = Wired()
        route = self.wired.broker.create("t", 2)
        self.wired.broker.give("me", "t", 0, 1)
        self.refused: list[errors.ShardMQError] = []
        self.told: list[tuple[int, bool]] = []
        self.nacker = Nacker(self.wired.core, 5, self.on_refused)
        self.trackers = [Tracker(row.number, row.shard, 1, 0) for row in route.queues]

    def on_refused(self, tracker: Tracker, error: errors.ShardMQError, now: Now) -> None:
        del tracker, now
        self.refused.append(error)

    def fail(self, offset: int, *, queue: int = 0, detail: str = "") -> None:
        message = g.NackMessage(offset=offset, cause="x", detail=detail)
        self.nacker.add(
            self.trackers[queue],
            message,
            lambda told, now: self.told.append((offset, told)),
            self.wired.now,
        )

    def requests(self) -> list[g.Nack]:
        return [
            decode_header(header, g.Nack)
            for route, header, _ in self.wired.broker.seen
            if route.verb == Verb.NACK
        ]


@pytest.fixture
def nacks() -> Nacks:
    return Nacks()


def test_what_fails_while_one_is_on_its_way_goes_with_the_next(nacks: Nacks) -> None:
    for offset in range(4):
        nacks.fail(offset)
    assert not nacks.nacker.is_idle
    assert nacks.nacker.untold == 4
    nacks.wired.run()
    assert nacks.nacker.untold == 0
    assert [len(one.queues[0].messages) for one in nacks.requests()] == [1, 3]
    assert nacks.requests()[0].max_attempts == 5
    assert nacks.told == [(0, True), (1, True), (2, True), (3, True)]
    assert nacks.nacker.is_idle


def test_each_shard_has_its_own(nacks: Nacks) -> None:
    nacks.fail(0)
    nacks.fail(1, queue=1)
    assert len(nacks.wired.core.outbox) == 2


def test_a_shard_that_is_away_is_told_again(nacks: Nacks) -> None:
    nacks.wired.broker.answer = lambda route, *_: "lost" if route.verb == Verb.NACK else None
    nacks.fail(0)
    nacks.wired.advance(11_000)
    assert nacks.told == []
    nacks.wired.broker.answer = lambda *_: None
    nacks.wired.advance(11_000)
    assert nacks.told == [(0, True)]


def test_a_fenced_queue_is_nothing_to_wait_for(nacks: Nacks) -> None:
    nacks.wired.broker.groups.cursors[nacks.trackers[0].queue].generation = 2
    nacks.fail(0)
    nacks.wired.run()
    assert nacks.told == [(0, False)]
    assert isinstance(nacks.refused[0], errors.Fenced)


def test_a_broker_that_takes_nothing_back_is_told_of(nacks: Nacks) -> None:
    nacks.wired.broker.answer = lambda route, *_: (
        (Code.UNKNOWN_VERB, ErrorReply(name="UNKNOWN_VERB", message="NACK"))
        if route.verb == Verb.NACK
        else None
    )
    nacks.fail(0)
    nacks.wired.run()
    assert nacks.refused[0].code == Code.UNKNOWN_VERB
    assert nacks.told == [(0, False)]


def test_traces_of_many_failures_are_dealt_to_several_requests(nacks: Nacks) -> None:
    for offset in range(101):
        nacks.fail(offset, detail="x" * 8_000)
    nacks.wired.run()
    assert len(nacks.requests()) > 2
    assert [offset for offset, _ in nacks.told] == list(range(101))


def test_requests_are_bounded_in_bytes_whatever_the_texts_are(nacks: Nacks) -> None:
    for offset in range(200):
        nacks.fail(offset, detail="\U0001f600" * 8_192)
    nacks.wired.run()
    assert [offset for offset, _ in nacks.told] == list(range(200))
    assert all(len(encode_header(one)) < HEADER_BYTES_MAX * 3 // 4 for one in nacks.requests())


def test_a_text_that_cannot_be_encoded_ends_nothing(nacks: Nacks) -> None:
    nacks.fail(0, detail="no \udcff")
    nacks.wired.run()
    assert nacks.told == [(0, True)]
    assert nacks.requests()[0].queues[0].messages[0].detail == "no ?"


def test_a_queue_that_was_granted_anew_is_another_request(nacks: Nacks) -> None:
    nacks.fail(0)
    nacks.fail(1)
    old = nacks.trackers[0]
    nacks.trackers[0] = Tracker(old.queue, old.shard, 2, 0)
    nacks.fail(2)
    nacks.wired.run()
    assert [one.queues[0].generation for one in nacks.requests()] == [1, 1, 2]


def test_what_failed_under_a_grant_that_is_gone_is_not_sent(nacks: Nacks) -> None:
    for offset in range(3):
        nacks.fail(offset)
    nacks.trackers[0].is_gone = True
    nacks.wired.run()
    assert [len(one.queues[0].messages) for one in nacks.requests()] == [1]
    assert nacks.told == [(0, True), (1, False), (2, False)]
    assert nacks.nacker.is_idle


def test_a_message_that_a_shard_refuses_is_told_again_with_its_place_only(
    nacks: Nacks, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(route: Route, header: Any, *_: Any) -> Any:
        if route.verb != Verb.NACK or not decode_header(header, g.Nack).queues[0].messages[0].cause:
            return None
        return Code.OK, g.NackReply(
            queues=[
                g.NackResult(queue=nacks.trackers[0].queue, code=Code.INVALID_ARGUMENT, message="?")
            ]
        )

    nacks.wired.broker.answer = answer
    nacks.fail(0, detail="trace")
    nacks.wired.run()
    assert nacks.told == []
    assert "was refused" in caplog.text
    nacks.wired.advance(600)
    assert nacks.told == [(0, True)]
    assert nacks.refused == [], "the member goes on"
    [told] = nacks.requests()[-1].queues[0].messages
    assert (told.cause, told.detail, told.delay_ms) == ("", "", None)


def test_a_message_that_is_refused_in_every_form_is_left_and_ends_nothing(nacks: Nacks) -> None:
    nacks.wired.broker.answer = lambda route, *_: (
        (Code.INVALID_ARGUMENT, ErrorReply(name="INVALID_ARGUMENT", message="no"))
        if route.verb == Verb.NACK
        else None
    )
    nacks.fail(0)
    nacks.wired.run()
    nacks.wired.advance(600)
    assert (nacks.told, nacks.refused) == ([(0, False)], [])
    assert nacks.nacker.is_idle


def test_closing_forgets_what_is_on_its_way(nacks: Nacks) -> None:
    nacks.fail(0)
    nacks.nacker.close()
    assert nacks.wired.core.in_flight_bytes == 0
    assert nacks.nacker.is_idle


def test_what_fails_after_the_end_is_told_by_nobody(nacks: Nacks) -> None:
    nacks.nacker.close()
    nacks.fail(0)
    assert nacks.told == [(0, False)]
    assert nacks.wired.core.in_flight_bytes == 0
