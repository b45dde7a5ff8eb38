"""Flows about groups, over a fake broker."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import errors
from shardmq.client.groups import (
    cursors_of,
    delete_group,
    describe_group,
    list_groups,
    reset_offsets,
)
from support.clients import Wired, run_flow


def test_cursors_are_asked_of_each_shard_once() -> None:
    wired = Wired()
    route = wired.broker.create("t", 4)
    wired.broker.give("me", "t", 0, 1, 2, 3)
    found = run_flow(wired, cursors_of(7, [(row.number, row.shard) for row in route.queues]))
    assert sorted(found) == [row.number for row in route.queues]
    assert [route.verb for route, _, _ in wired.broker.seen].count(Verb.CURSORS) == 2


def test_cursors_of_more_queues_than_a_request_may_name_are_all_found() -> None:
    wired = Wired()
    wired.broker.shards = 1
    route = wired.broker.create("t", 10_000)
    wired.broker.give("me", "t", *range(10_000))
    found = run_flow(wired, cursors_of(7, [(row.number, row.shard) for row in route.queues]))
    assert len(found) == 10_000
    assert [route.verb for route, _, _ in wired.broker.seen].count(Verb.CURSORS) == 3


def test_a_queue_that_a_shard_does_not_know_is_an_error() -> None:
    wired = Wired()
    with pytest.raises(errors.Rejected, match="queue 9"):
        run_flow(wired, cursors_of(7, [(9, 0)]))
    wired.broker.answer = lambda route, *_: (
        (Code.OK, g.CursorsReply()) if route.verb == Verb.CURSORS else None
    )
    with pytest.raises(errors.RemoteError, match="does not tell"):
        run_flow(wired, cursors_of(7, [(9, 0)]))


def answering(verb: Verb, *answers: g.Header) -> Any:
    """Answers of a coordinator, one after the other."""
    left = list(answers)
    return lambda route, *_: (Code.OK, left.pop(0)) if route.verb == verb else None


def test_groups_are_listed_page_by_page() -> None:
    wired = Wired()
    rows = [g.GroupSummary(group=name, group_id=1, model="clustering") for name in "abc"]
    wired.broker.answer = answering(
        Verb.GROUP_LIST,
        g.GroupListReply(groups=rows[:2], more=True),
        g.GroupListReply(groups=rows[2:]),
    )
    assert run_flow(wired, list_groups()) == ["a", "b", "c"]
    assert decode_header(wired.broker.seen[-1][1], g.GroupList).after == "b"


def test_a_description_joins_who_holds_a_queue_with_where_the_group_is() -> None:
    wired = Wired()
    route = wired.broker.create("t", 3)
    wired.broker.give("me", "t", 0, 1)
    wired.broker.groups.cursors[route.queues[1].number].floor = 5
    queues = [
        g.QueueOwner(
            topic="t", queue_id=row.queue_id, queue=row.number, shard=row.shard,
            owner="me" if row.queue_id < 2 else None,
        )
        for row in route.queues[:2]
    ]  # fmt: skip
    told = g.GroupDescription(
        group="g", group_id=7, model="clustering", strategy="sticky", queues=queues,
        subscriptions=[g.Subscription(topic="t", expression="a")],
        members=[g.MemberInfo(member="me", queues=2, lease_ms=10_000, silent_ms=1_500)],
    )  # fmt: skip
    wired.broker.answer = answering(Verb.GROUP_DESCRIBE, told)
    found = run_flow(wired, describe_group("g"))
    assert (found.name, found.subscriptions, found.lag) == ("g", {"t": "a"}, 0)
    assert [(one.name, one.silent, one.lease) for one in found.members] == [("me", 1.5, 10.0)]
    assert [(one.queue_id, one.owner, one.committed) for one in found.queues] == [
        (0, "me", 0), (1, "me", 5),
    ]  # fmt: skip
    assert found.oldest_at is None


def test_a_broadcasting_group_is_where_its_members_are() -> None:
    wired = Wired()
    route = wired.broker.create("t", 1)
    wired.broker.give("me", "t", 0)
    row = route.queues[0]
    told = g.GroupDescription(
        group="g", group_id=7, model="broadcasting", strategy="sticky",
        queues=[g.QueueOwner(topic="t", queue_id=0, queue=row.number, shard=row.shard)],
        members=[g.MemberInfo(member="you", group_id=9), g.MemberInfo(member="me", group_id=8)],
    )  # fmt: skip
    wired.broker.answer = answering(Verb.GROUP_DESCRIBE, told)
    found = run_flow(wired, describe_group("g"))
    assert [(one.owner, one.queue_id) for one in found.queues] == [("me", 0), ("you", 0)]
    asked = [decode_header(h, g.Cursors) for r, h, _ in wired.broker.seen if r.verb == Verb.CURSORS]
    assert [one.group_id for one in asked] == [8, 9]


def test_a_broadcasting_member_that_is_away_is_where_it_was() -> None:
    wired = Wired()
    route = wired.broker.create("t", 1)
    row = route.queues[0]
    told = g.GroupDescription(
        group="g", group_id=7, model="broadcasting", strategy="sticky", told_at_ms=70_500,
        queues=[g.QueueOwner(topic="t", queue_id=0, queue=row.number, shard=row.shard)],
        members=[g.MemberInfo(member="you", group_id=9)],
        away=[g.MemberInfo(member="me", group_id=8)],
    )  # fmt: skip
    cursors = {
        8: g.CursorResult(queue=row.number, floor=5, latest=9, lag=4, oldest_at_ms=60_000),
        9: g.CursorResult(queue=row.number, floor=9, latest=9),
    }

    def answer(route: Any, header: bytes, _: Any) -> Any:
        if route.verb == Verb.GROUP_DESCRIBE:
            return Code.OK, told
        if route.verb == Verb.CURSORS:
            asked = decode_header(header, g.Cursors)
            return Code.OK, g.CursorsReply(queues=[cursors[asked.group_id]])
        return None

    wired.broker.answer = answer
    found = run_flow(wired, describe_group("g"))
    assert ([one.name for one in found.members], found.away) == (["you"], ["me"])
    assert [(one.owner, one.lag, one.lag_seconds) for one in found.queues] == [
        ("me", 4, 10.5), ("you", 0, 0.0),
    ]  # fmt: skip
    assert (found.lag, found.lag_seconds) == (4, 10.5)


def test_how_old_the_oldest_is_is_unknown_where_the_group_has_never_been() -> None:
    wired = Wired()
    route = wired.broker.create("t", 1)
    row = route.queues[0]
    told = g.GroupDescription(
        group="g", group_id=7, model="clustering", strategy="sticky", told_at_ms=70_500,
        queues=[g.QueueOwner(topic="t", queue_id=0, queue=row.number, shard=row.shard)],
    )  # fmt: skip
    new = g.CursorResult(queue=row.number, code=Code.GROUP_NOT_FOUND, latest=9)
    answers = {Verb.GROUP_DESCRIBE: told, Verb.CURSORS: g.CursorsReply(queues=[new])}
    wired.broker.answer = lambda route, *_: (
        (Code.OK, answers[route.verb]) if route.verb in answers else None
    )
    found = run_flow(wired, describe_group("g"))
    assert (found.lag, found.lag_seconds, found.oldest_at) == (9, None, None)


def test_a_work_group_tells_what_its_receivers_have_in_hand() -> None:
    wired = Wired()
    route = wired.broker.create("t", 2)
    queues = [
        g.QueueOwner(topic="t", queue_id=row.queue_id, queue=row.number, shard=row.shard, owner="*")
        for row in route.queues
    ]
    told = g.GroupDescription(
        group="g", group_id=7, model="work_fifo", strategy="sticky", queues=queues,
        members=[g.MemberInfo(member=name, queues=2) for name in ("you", "me")],
    )  # fmt: skip
    cursors = [
        g.CursorResult(queue=row.number, member="*", floor=3, latest=9, lag=6, in_flight=2 + at)
        for at, row in enumerate(route.queues)
    ]
    by_verb = {
        Verb.GROUP_DESCRIBE: lambda asked: told,
        Verb.CURSORS: lambda asked: g.CursorsReply(
            queues=[one for one in cursors if one.queue in asked.queues]
        ),
    }

    def answer(route: Any, header: bytes, _: Any) -> Any:
        if route.verb not in by_verb:
            return None
        asked = decode_header(header, g.Cursors) if route.verb == Verb.CURSORS else None
        return Code.OK, by_verb[route.verb](asked)

    wired.broker.answer = answer
    found = run_flow(wired, describe_group("g"))
    assert [(one.name, one.queues) for one in found.members] == [("me", 2), ("you", 2)]
    assert [(one.owner, one.lag, one.in_flight) for one in found.queues] == [
        ("*", 6, 2), ("*", 6, 3),
    ]  # fmt: skip
    assert (found.lag, found.in_flight) == (12, 5)


def test_a_reset_of_a_broadcasting_group_says_whose_queue_it_was() -> None:
    wired = Wired()
    results = [g.ResetResult(queue_id=0, queue=2, after=9, message=name) for name in ("me", "you")]
    wired.broker.answer = answering(Verb.GROUP_RESET, g.GroupResetReply(queues=results))
    moved = run_flow(wired, reset_offsets("g", "t", "latest", dry_run=False))
    assert [(one.member, one.queue_id) for one in moved] == [("me", 0), ("you", 0)]


def test_a_reset_says_where_queues_were_and_where_they_are() -> None:
    wired = Wired()
    result = g.ResetResult(queue_id=1, queue=2, before=None, after=9)
    wired.broker.answer = answering(Verb.GROUP_RESET, g.GroupResetReply(queues=[result]))
    [moved] = run_flow(wired, reset_offsets("g", "t", {1: 9}, dry_run=True))
    assert (moved.queue_id, moved.before, moved.after) == (1, None, 9)
    assert moved.member is None
    asked = decode_header(wired.broker.seen[-1][1], g.GroupReset)
    assert asked.dry_run
    assert [(one.queue_id, one.offset) for one in asked.queues] == [(1, 9)]


def test_a_queue_that_was_not_reset_is_an_error() -> None:
    wired = Wired()
    result = g.ResetResult(queue_id=1, queue=2, code=Code.UNAVAILABLE, message="shard is away")
    wired.broker.answer = answering(Verb.GROUP_RESET, g.GroupResetReply(queues=[result]))
    with pytest.raises(errors.Unavailable, match="shard is away"):
        run_flow(wired, reset_offsets("g", "t", "latest", dry_run=False))


@pytest.mark.parametrize("to", [{}, {0: -1}, {"0": 1}, "middle"])
def test_a_reset_to_nowhere_is_refused_here(to: Any) -> None:
    with pytest.raises(errors.InvalidArgument):
        run_flow(Wired(), reset_offsets("g", "t", to, dry_run=False))


def test_deleting_names_the_group_and_a_bad_name_never_leaves() -> None:
    wired = Wired()
    wired.broker.answer = answering(Verb.GROUP_DELETE, g.GroupDeleteReply(group_id=7))
    run_flow(wired, delete_group("g"))
    assert decode_header(wired.broker.seen[-1][1], g.GroupDelete).group == "g"
    with pytest.raises(errors.InvalidArgument):
        run_flow(wired, delete_group("no group"))
