"""GroupCore: from the grant to the release, and what fencing does; on a manual clock."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import Cursors
from shardmq.actors.protocol.messages import ErrorReply
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import errors
from shardmq.client.group.core import GroupCore
from support.reading import Member


@pytest.fixture
def member() -> Member:
    return Member()


def test_a_member_reads_what_it_is_granted_with_its_generation(member: Member) -> None:
    member.store(b"a", b"b", queue_id=1)
    member.start(1)
    assert member.group.core.settled
    assert member.poll() == [b"a", b"b"]
    fetch = member.fetches()[0]
    assert fetch.group_id == 7
    assert [(row.queue, row.generation) for row in fetch.queues] == [(member.number(1), 1)]


def test_start_positions_are_asked_once_for_each_shard_and_ranges_are_skipped(
    member: Member,
) -> None:
    member.store(*[b"%d" % n for n in range(8)], queue_id=0)
    member.wired.broker.give("me", "t", 0, 1, 2, 3)
    cursor = member.groups.cursors[member.number(0)]
    cursor.floor, cursor.ranges = 2, [(3, 5), (6, 7)]
    member.group.core.start(member.wired.now)
    member.wired.run()
    asked = [
        decode_header(header, Cursors)
        for route, header, _ in member.wired.broker.seen
        if route.verb == Verb.CURSORS
    ]
    assert sorted(len(one.queues) for one in asked) == [2, 2]
    assert member.poll() == [b"2", b"5", b"7"]


def test_it_is_settled_when_all_start_positions_are_known(member: Member) -> None:
    member.wired.broker.answer = lambda route, *_: "lost" if route.verb == Verb.CURSORS else None
    member.start(0)
    assert not member.group.core.settled
    member.wired.broker.answer = lambda *_: None
    member.wired.advance(5_000)
    assert member.group.core.settled


def test_a_shard_that_does_not_know_the_queue_yet_is_asked_again(member: Member) -> None:
    member.start(0)
    row = member.route.queues[1]
    member.groups.give("me", "t", 1, row.number, row.shard)
    held = member.groups.cursors.pop(row.number)
    member.tell()
    assert not member.group.core.settled
    member.groups.cursors[row.number] = held
    member.wired.advance(1_000)
    assert member.group.core.settled


def test_a_revoked_queue_is_acked_then_released_and_the_others_go_on(member: Member) -> None:
    member.store(b"a", b"b", queue_id=0)
    member.start(0, 1)
    assert member.poll() == [b"a", b"b"]
    assert member.poll() == []
    member.revoke(0)
    assert member.groups.released == [member.number(0)]
    assert member.floor(0) == 2
    assert [cursor.queue.queue_id for cursor in member.fetcher.cursors()] == [1]
    member.store(b"c", queue_id=1)
    assert member.poll() == [b"c"]


def test_a_queue_that_is_revoked_before_its_start_is_known_is_released_at_once(
    member: Member,
) -> None:
    member.wired.broker.answer = lambda route, *_: "lost" if route.verb == Verb.CURSORS else None
    member.start(0)
    member.revoke(0)
    assert member.groups.released == [member.number(0)]
    assert member.group.core.settled


def test_a_fenced_read_drops_what_is_held_and_waits_for_events(member: Member) -> None:
    member.store(b"a")
    member.start(0)
    member.wired.broker.give("other", "t", 0)
    member.store(b"b")
    assert member.poll() == []
    assert member.fetcher.cursors() == []
    member.give(0)
    assert member.poll() == [b"a", b"b"], "nothing was acked: all of it comes again"


def test_a_queue_granted_anew_starts_again_where_the_group_is(member: Member) -> None:
    member.store(b"a", b"b", b"c")
    member.start(0)
    assert member.poll() == [b"a", b"b", b"c"]
    member.groups.cursors[member.number(0)].floor = 1
    member.give(0)
    assert member.poll() == [b"b", b"c"]


def test_what_the_subscription_does_not_select_is_done_when_it_is_passed() -> None:
    member = Member("paid")
    member.store(b"a", tag="new")
    member.store(b"b", tag="paid")
    member.store(b"c", tag="new")
    member.start(0)
    assert member.poll() == [b"b"]
    assert member.poll() == []
    member.wired.advance(2_000)
    assert member.floor(0) == 3


def test_a_stale_queue_is_tried_again_until_events_say_something_else(member: Member) -> None:
    member.store(b"a")
    member.route.queues[0].readable = False
    member.start(0)
    assert member.poll() == []
    member.route.queues[0].readable = True
    member.wired.advance(1_000)
    assert member.poll() == [b"a"]


def test_a_refusal_that_names_an_older_grant_leaves_the_one_in_force_alone(member: Member) -> None:
    member.store(b"a")
    member.start(0)
    old = member.group.core.holdings[member.number(0)].tracker
    assert old is not None
    member.give(0)
    for code in (Code.FENCED, Code.INVALID_ARGUMENT):
        member.group.core.refused(old, errors.remote_error(code, "late"), member.wired.now)
    assert not member.group.core.has_failed
    assert member.poll() == [b"a"]


def test_a_queue_that_was_dropped_and_that_events_still_show_is_read_again(member: Member) -> None:
    member.store(b"a")
    member.start(0)
    tracker = member.group.core.holdings[member.number(0)].tracker
    assert tracker is not None
    error = errors.remote_error(Code.GROUP_NOT_FOUND, "not yet")
    member.group.core.refused(tracker, error, member.wired.now)
    assert member.fetcher.cursors() == []
    member.wired.advance(300)
    assert member.poll() == [b"a"]


def test_a_revoked_queue_that_was_dropped_is_given_back(member: Member) -> None:
    member.store(b"a")
    member.start(0)
    assert member.poll() == [b"a"]
    tracker = member.group.core.holdings[member.number(0)].tracker
    assert tracker is not None
    member.revoke(0)
    assert member.groups.released == [], "the user has it"
    error = errors.remote_error(Code.GROUP_NOT_FOUND, "not yet")
    member.group.core.refused(tracker, error, member.wired.now)
    member.wired.advance(300)
    assert member.groups.released == [member.number(0)]


def test_a_refusal_of_acks_for_good_is_the_members_error(member: Member) -> None:
    member.store(b"a")
    member.start(0)
    member.poll()
    member.wired.broker.answer = lambda route, *_: (
        (Code.FORBIDDEN, ErrorReply(name="FORBIDDEN", message="may not ack"))
        if route.verb == Verb.ACK
        else None
    )
    commit = member.commit()
    assert isinstance(commit.error, errors.Forbidden)
    assert member.group.core.has_failed


def test_a_member_that_fails_for_good_tells_what_is_done_and_leaves(member: Member) -> None:
    member.store(b"a", b"b")
    member.start(0)
    assert member.poll(1) == [b"a"]
    member.poll(1)
    member.group.core.fail(errors.ShardMQError("a fault"))
    member.wired.advance(1)
    assert member.groups.left == ["me"]
    assert member.floor(0) == 1
    member.wired.advance(30_000)
    assert member.groups.left == ["me"], "once"


def test_leaving_frees_the_queues_and_closing_forgets_everything(member: Member) -> None:
    member.start(0, 1)
    member.group.core.leave(member.wired.now)
    member.wired.run()
    assert member.groups.left == ["me"]
    member.group.core.close()
    member.fetcher.close()
    assert member.group.core.holdings == {}
    assert member.wired.core.in_flight_bytes == 0


def test_a_name_is_free_again_when_its_member_has_failed_or_is_closed(member: Member) -> None:
    first = member.group.core
    options, fetcher = first.options, first.fetcher
    others = [GroupCore(fetcher, options, {}, member.group) for _ in range(3)]
    first.start(member.wired.now)
    others[0].start(member.wired.now)
    assert isinstance(others[0].error, errors.InvalidArgument)
    others[0].close()
    first.fail(errors.ShardMQError("it cannot go on"))
    others[1].start(member.wired.now)
    first.close()
    others[2].start(member.wired.now)
    assert (others[1].error is None, others[2].error is None) == (True, False)
    others[1].close()
    assert member.wired.core.members == {}
