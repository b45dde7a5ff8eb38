"""Committer: what is told, when it counts as durable, and what a refusal does."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import Route
from shardmq.actors.protocol.limits import ACK_RANGES_MAX
from shardmq.actors.protocol.messages import ErrorReply
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import errors
from shardmq.client.group.acks import Committer
from shardmq.client.group.tracker import Tracker
from support.clients import Wired


class Acks:
    """A committer joined to a fake broker that granted 4 queues on 2 shards."""

    def __init__(self) -> None:
        self.wired = Wired()
        route = self.wired.broker.create("t", 4)
        self.wired.broker.give("me", "t", 0, 1, 2, 3)
        self.refused: list[tuple[Tracker, errors.ShardMQError]] = []
        self.committer = Committer(self.wired.core, self.on_refused)
        self.committer.group_id = 7
        self.trackers = [Tracker(row.number, row.shard, 1, 0, name="x") for row in route.queues]
        for tracker in self.trackers:
            self.committer.add(tracker)

    def on_refused(self, tracker: Tracker, error: errors.ShardMQError, now: Now) -> None:
        del now
        self.refused.append((tracker, error))
        self.committer.forget(tracker, error)

    def told(self) -> list[g.Ack]:
        return [
            decode_header(header, g.Ack)
            for route, header, _ in self.wired.broker.seen
            if route.verb == Verb.ACK
        ]


@pytest.fixture
def acks() -> Acks:
    return Acks()


def test_one_request_for_each_shard_names_all_queues_with_news(acks: Acks) -> None:
    for tracker in acks.trackers[:3]:
        tracker.add(0, 5)
    commit = acks.committer.commit(acks.wired.now)
    assert not commit.settled
    acks.wired.run()
    assert commit.settled
    assert commit.error is None
    assert sorted(len(ack.queues) for ack in acks.told()) == [1, 2]
    assert not any(tracker.is_dirty for tracker in acks.trackers)


def test_nothing_new_is_nothing_to_tell(acks: Acks) -> None:
    assert acks.committer.commit(acks.wired.now).settled
    assert not acks.wired.core.outbox


def test_what_comes_while_an_ack_is_on_its_way_goes_with_the_next(acks: Acks) -> None:
    first, other = (one for one in acks.trackers if one.shard == 0)
    first.add(0, 5)
    one = acks.committer.commit(acks.wired.now)
    first.add(5, 9)
    other.add(2, 4)
    two = acks.committer.commit(acks.wired.now)
    assert len(acks.wired.core.outbox) == 1
    acks.wired.run()
    assert one.settled
    assert two.settled
    assert len(acks.told()) == 2
    assert acks.wired.broker.groups.cursors[other.queue].ranges == [(2, 4)]


def test_an_ack_that_nobody_answers_fails_the_commit_and_is_told_again(acks: Acks) -> None:
    tracker = acks.trackers[0]
    tracker.add(0, 5)
    acks.wired.broker.answer = lambda route, *_: "lost" if route.verb == Verb.ACK else None
    commit = acks.committer.commit(acks.wired.now)
    acks.wired.advance(20_000)
    assert isinstance(commit.error, errors.TimedOut)
    assert tracker.is_dirty
    acks.wired.broker.answer = lambda *_: None
    acks.committer.commit(acks.wired.now)
    acks.wired.run()
    assert not tracker.is_dirty


def test_a_fenced_queue_fails_a_commit_that_waits_for_it_and_no_other_queue(acks: Acks) -> None:
    fenced, fine = (one for one in acks.trackers if one.shard == 0)
    acks.wired.broker.groups.cursors[fenced.queue].generation = 2
    fenced.add(0, 5)
    fine.add(0, 5)
    commit = acks.committer.commit(acks.wired.now)
    acks.wired.run()
    assert isinstance(commit.error, errors.Fenced)
    assert [tracker for tracker, _ in acks.refused] == [fenced]
    assert not fine.is_dirty


def test_a_refusal_of_the_whole_request_is_told_for_each_queue(acks: Acks) -> None:
    acks.wired.broker.answer = lambda route, *_: (
        (Code.GROUP_NOT_FOUND, ErrorReply(name="GROUP_NOT_FOUND", message="gone"))
        if route.verb == Verb.ACK
        else None
    )
    acks.trackers[0].add(0, 1)
    acks.committer.commit(acks.wired.now)
    acks.wired.run()
    assert [type(error) for _, error in acks.refused] == [errors.GroupNotFound]


def test_who_waits_until_nothing_is_left_to_tell_is_called_then(acks: Acks) -> None:
    tracker = acks.trackers[0]
    called: list[str] = []
    acks.committer.when_durable(tracker, lambda now: called.append("clean"), acks.wired.now)
    assert called == ["clean"]
    tracker.add(0, 5)
    acks.committer.when_durable(tracker, lambda now: called.append("durable"), acks.wired.now)
    tracker.add(5, 6)
    acks.wired.run()
    assert called == ["clean", "durable"]
    assert acks.wired.broker.groups.cursors[tracker.queue].floor == 6


def test_who_waits_while_the_shard_is_away_is_called_when_it_is_told_again(acks: Acks) -> None:
    tracker = acks.trackers[0]
    tracker.add(0, 5)
    called: list[Now] = []
    acks.wired.broker.answer = lambda route, *_: "lost" if route.verb == Verb.ACK else None
    acks.committer.when_durable(tracker, called.append, acks.wired.now)
    acks.wired.advance(20_000)
    acks.wired.broker.answer = lambda *_: None
    acks.committer.again(acks.wired.now)
    acks.wired.run()
    assert len(called) == 1


def holes(tracker: Tracker, count: int) -> None:
    for number in range(count):
        tracker.add(2 * number + 1, 2 * number + 2)


def test_ranges_beyond_one_request_go_with_the_next_and_only_then_it_is_durable(
    acks: Acks,
) -> None:
    first, other = (one for one in acks.trackers if one.shard == 0)
    holes(first, ACK_RANGES_MAX + 500)
    holes(other, 700)
    commit = acks.committer.commit(acks.wired.now)
    acks.wired.run()
    assert commit.settled
    assert commit.error is None
    assert not first.is_dirty
    assert not other.is_dirty
    told = acks.told()
    assert all(sum(len(row.ranges) for row in one.queues) <= ACK_RANGES_MAX for one in told)
    for tracker in (first, other):
        rows = [row for row in acks.wired.broker.groups.acked if row.queue == tracker.queue]
        assert {one for row in rows for one in row.ranges} == set(tracker.ranges)


def test_a_commit_that_comes_within_a_sweep_is_settled_by_the_next(acks: Acks) -> None:
    tracker = acks.trackers[0]
    holes(tracker, ACK_RANGES_MAX + 500)
    one = acks.committer.commit(acks.wired.now)
    tracker.add(100, 101)
    two = acks.committer.commit(acks.wired.now)
    acks.wired.run()
    assert one.settled
    assert two.settled
    assert (one.error, two.error, tracker.is_dirty) == (None, None, False)


def busy(acks: Acks, queue: int) -> None:
    def answer(route: Route, header: bytes, *_: Any) -> Any:
        if route.verb != Verb.ACK:
            return None
        return Code.OK, g.AckReply(
            queues=[
                g.AckResult(queue=row.queue, code=Code.BUSY if row.queue == queue else Code.OK)
                for row in decode_header(header, g.Ack).queues
            ]
        )

    acks.wired.broker.answer = answer


def test_a_queue_with_more_ranges_than_its_shard_takes_fails_its_commit_and_no_other(
    acks: Acks,
) -> None:
    full, fine = (one for one in acks.trackers if one.shard == 0)
    busy(acks, full.queue)
    holes(full, ACK_RANGES_MAX)
    fine.add(0, 5)
    commit = acks.committer.commit(acks.wired.now)
    acks.wired.run()
    assert commit.error is not None
    assert commit.error.code == Code.BUSY
    acks.committer.commit(acks.wired.now)
    acks.wired.run()
    assert full.is_dirty
    assert not fine.is_dirty
    assert len(acks.told()) < 6, "it is not told again and again"


def test_a_queue_that_is_given_back_does_not_wait_for_ranges_that_its_shard_does_not_take(
    acks: Acks,
) -> None:
    tracker = acks.trackers[0]
    busy(acks, tracker.queue)
    holes(tracker, 10)
    called: list[Now] = []
    acks.committer.when_durable(tracker, called.append, acks.wired.now)
    acks.wired.run()
    assert len(called) == 1


def test_closing_forgets_what_is_on_its_way(acks: Acks) -> None:
    acks.trackers[0].add(0, 5)
    acks.committer.commit(acks.wired.now)
    acks.committer.close()
    assert acks.wired.core.in_flight_bytes == 0


def test_a_last_commit_that_fails_names_its_queues_in_the_log(
    acks: Acks, caplog: pytest.LogCaptureFixture
) -> None:
    acks.trackers[0].name, acks.trackers[1].name = "queue 0 of 't'", "queue 1 of 't'"
    for tracker in acks.trackers[:2]:
        tracker.add(0, 5)
    commit = acks.committer.commit(acks.wired.now)
    commit.warn()
    [text] = caplog.messages
    assert "queue 0 of 't', queue 1 of 't'" in text
    acks.wired.run()
    commit.warn()
    assert len(caplog.messages) == 1, "all is told by now"
    assert commit.untold == ""
