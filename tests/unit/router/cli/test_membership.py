"""Reading as a member of a group: what is committed when, and when it ends."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.client.errors import DamagedRecord, InvalidArgument
from shardmq.router.cli.errors import CliError
from shardmq.router.cli.membership import group_messages, member
from shardmq.router.cli.reading import Start


class Consumer:
    """A consumer whose polls give what the test says; queue 0 is read as far as was given."""

    def __init__(self, *polls: Any, held: tuple[int, ...] = (0,)) -> None:
        self._polls = list(polls)
        self._given = 0
        self.held = held
        self.asked: list[int] = []
        self.committed: list[int] = []

    def poll(self, timeout: float, max_messages: int) -> list[Any]:
        self.asked.append(max_messages)
        found = self._polls.pop(0) if self._polls else []
        if isinstance(found, Exception):
            raise found
        self._given += len(found[:max_messages])
        return list(found[:max_messages])

    def commit(self) -> None:
        self.committed.append(self._given)

    def assignment(self) -> list[tuple[str, int]]:
        return [("t", queue_id) for queue_id in self.held]

    def position(self, topic: str, queue_id: int) -> int:
        if queue_id == 9:
            raise InvalidArgument("not assigned")
        return self._given


def read(consumer: Any, **given: Any) -> list[Any]:
    wanted = {"ends": {0: 4}, "count": None, "commit_each": True, **given}
    return list(group_messages(consumer, "t", **wanted))


def test_it_ends_when_all_queues_are_read_to_their_end() -> None:
    consumer = Consumer("ab", "", "cd", "e")
    assert read(consumer) == ["a", "b", "c", "d"]
    assert consumer.committed == [2, 4]


def test_a_batch_is_done_only_when_all_of_it_was_taken() -> None:
    consumer: Any = Consumer("abc", "d")
    messages = group_messages(consumer, "t", {0: 4}, None, commit_each=True)
    assert [next(messages) for _ in range(3)] == ["a", "b", "c"]
    assert consumer.committed == []
    assert next(messages) == "d"
    assert consumer.committed == [3]


def test_no_more_is_taken_than_was_asked_for() -> None:
    consumer = Consumer("ab", "cdef")
    assert read(consumer, ends=None, count=3) == ["a", "b", "c"]
    assert consumer.asked == [3, 1]
    assert consumer.committed == [2, 3]


def test_the_caller_may_commit_in_the_end() -> None:
    consumer = Consumer("ab", "cd")
    assert len(read(consumer, commit_each=False)) == 4
    assert consumer.committed == []


def test_with_some_of_the_queues_it_waits_for_more_to_come() -> None:
    consumer = Consumer("abcd", "ef", held=(0,))
    assert read(consumer, ends={0: 4, 1: 0}) == list("abcdef")


def test_a_queue_that_has_just_gone_to_another_member_is_not_waited_for() -> None:
    assert read(Consumer("abcd", held=(0, 9)), ends={0: 4, 9: 100}) == list("abcd")


def test_a_damaged_record_is_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert read(Consumer(DamagedRecord("rot"), "abcd")) == list("abcd")
    assert "rot" in capsys.readouterr().err


def test_a_group_does_not_start_at_an_offset() -> None:
    with pytest.raises(CliError, match="not at an offset"):
        member("tcp://127.0.0.1:9", "g", "t", (), Start(offset=4711), 1.0)
