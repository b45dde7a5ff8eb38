"""PullGroup: what counts as done when, and how long a revoked queue waits for its user."""

from __future__ import annotations

import pytest

from shardmq.client import errors
from support.reading import Member


@pytest.fixture
def member() -> Member:
    member = Member()
    member.store(*[b"%d" % n for n in range(10)])
    member.start(0)
    return member


def test_what_a_poll_handed_out_is_done_when_the_next_comes(member: Member) -> None:
    assert member.poll(4) == [b"0", b"1", b"2", b"3"]
    member.wired.advance(3_000)
    assert member.floor(0) == 0, "the user may still be working on it"
    member.poll(4)
    member.wired.advance(1_000)
    assert member.floor(0) == 4


def test_a_commit_by_hand_counts_all_that_was_handed_out(member: Member) -> None:
    member.poll(4)
    commit = member.commit()
    assert commit.settled
    assert member.floor(0) == 4


def test_without_auto_commit_only_a_commit_says_what_is_done() -> None:
    member = Member(auto_commit=False)
    member.store(b"a", b"b")
    member.start(0)
    member.poll()
    member.poll()
    member.wired.advance(5_000)
    assert member.floor(0) == 0
    member.commit()
    assert member.floor(0) == 2


def test_a_commit_in_the_middle_of_an_iteration_counts_up_to_where_it_is(member: Member) -> None:
    batch = member.reader.begin(member.wired.now)
    assert batch is not None
    for _ in range(3):
        next(batch.messages)
    member.wired.advance(1_000)
    assert member.floor(0) == 2, "the third is in the user's hands"
    member.commit()
    assert member.floor(0) == 3
    next(batch.messages)
    member.wired.advance(1_000)
    assert member.floor(0) == 3


def test_a_revoked_queue_waits_for_its_user_and_keeps_what_it_read(member: Member) -> None:
    member.poll(4)
    member.revoke(0)
    assert member.groups.released == []
    assert member.poll() == [], "the rest is the next owner's"
    assert member.groups.released == [member.number(0)]
    assert member.floor(0) == 4


def test_a_commit_by_hand_gives_a_revoked_queue_back() -> None:
    member = Member(auto_commit=False)
    member.store(b"a", b"b")
    member.start(0)
    assert member.poll() == [b"a", b"b"]
    member.revoke(0)
    member.poll()
    assert member.groups.released == [], "nothing says yet that they are done"
    assert member.commit().error is None
    assert (member.groups.released, member.floor(0)) == ([member.number(0)], 2)


def test_a_commit_that_comes_too_late_for_a_revoked_queue_fails() -> None:
    member = Member(auto_commit=False)
    member.store(b"a", b"b")
    member.start(0)
    member.poll()
    member.revoke(0)
    member.wired.advance(600)
    assert member.groups.released == [member.number(0)]
    error = member.commit().error
    assert isinstance(error, errors.Fenced)
    assert "queue 0 of 't'" in str(error)
    assert member.commit().error is None, "it is said once"


def test_a_user_who_does_not_come_back_is_not_waited_for_long(member: Member) -> None:
    member.poll(4)
    member.revoke(0)
    member.wired.advance(900)
    assert member.groups.released == [member.number(0)]
    assert member.floor(0) == 0, "what is in the user's hands is given to others, too"
    member.poll()


def test_an_iteration_is_interrupted_when_its_queue_is_revoked(member: Member) -> None:
    batch = member.reader.begin(member.wired.now)
    assert batch is not None
    for _ in range(3):
        next(batch.messages)
    member.revoke(0)
    assert member.reader.current is None
    assert member.poll() == []
    assert member.floor(0) == 3


def test_a_fenced_commit_says_so(member: Member) -> None:
    member.poll(4)
    member.wired.broker.give("other", "t", 0)
    commit = member.commit()
    assert isinstance(commit.error, errors.Fenced)
    assert "another member" in str(commit.error)


def test_an_iteration_over_a_queue_that_is_gone_gives_its_room_back(member: Member) -> None:
    batch = member.reader.begin(member.wired.now)
    assert batch is not None
    member.wired.broker.give("other", "t", 0)
    member.tell()
    assert member.reader.current is None
    assert member.fetcher.buffer.has_room


def test_a_seek_back_hands_out_again_and_never_moves_the_group_back(member: Member) -> None:
    member.poll(6)
    member.commit()
    cursor = member.reader.cursor("t", 0)
    member.reader.seek(cursor, 2, member.wired.now)
    member.wired.run()
    assert member.poll(2) == [b"2", b"3"]
    member.commit()
    assert member.floor(0) == 6


def test_a_seek_forward_counts_what_it_left_out_as_done(member: Member) -> None:
    member.reader.seek(member.reader.cursor("t", 0), 8, member.wired.now)
    member.wired.run()
    assert member.poll() == [b"8", b"9"]
    member.commit()
    assert member.floor(0) == 10


def test_an_error_in_an_iteration_leaves_only_the_message_that_it_was_at(member: Member) -> None:
    batch = member.reader.begin(member.wired.now)
    assert batch is not None
    for _ in range(3):
        next(batch.messages)
    member.group.closing(member.wired.now, done=False)
    member.wired.run()
    assert member.floor(0) == 2


@pytest.mark.parametrize(("done", "floor"), [(True, 4), (False, 0)])
def test_the_last_commit_counts_the_last_messages_unless_an_error_ended_it(
    member: Member, done: bool, floor: int
) -> None:
    member.poll(4)
    commit = member.group.closing(member.wired.now, done=done)
    member.wired.run()
    assert commit.settled
    assert member.floor(0) == floor
