"""Dispatcher: runs, acks as ranges, failures, revocation, messages that take too long."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.client.group.dispatch import RUN_MESSAGES_MAX
from shardmq.client.group.outcomes import Discard, Retry
from shardmq.client.group.work import run
from support.pushing import Pushed


def bodies(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def failing(message: object) -> None:
    if getattr(message, "body", b"") in (b"1", b"3"):
        raise ValueError("no")


def test_messages_are_delivered_and_acked_as_one_floor() -> None:
    pushed = Pushed()
    pushed.store(*bodies(10))
    pushed.start(0)
    pushed.work()
    assert pushed.bodies == bodies(10)
    pushed.commit()
    assert (pushed.floor(), pushed.ranges()) == (10, [])


def test_a_run_is_one_message_until_the_listener_is_known_to_be_quick() -> None:
    pushed = Pushed()
    pushed.store(*bodies(3_000))
    pushed.start(0)
    first = pushed.taken()
    assert len(first.messages) == 1
    run(first)
    pushed.finish(first)
    quick = pushed.taken()
    assert len(quick.messages) == RUN_MESSAGES_MAX
    run(quick)
    pushed.wired.advance(RUN_MESSAGES_MAX * 10.0)
    pushed.finish(quick)
    assert len(pushed.taken().messages) == 1, "it took 10 ms for each"


def test_runs_done_out_of_order_are_ranges_above_the_floor() -> None:
    pushed = Pushed()
    pushed.store(*bodies(3))
    pushed.start(0)
    first, second, third = pushed.taken(), pushed.taken(), pushed.taken()
    for work in (third, second):
        run(work)
        pushed.finish(work)
    pushed.commit()
    assert (pushed.floor(), pushed.ranges()) == (0, [(1, 3)])
    run(first)
    pushed.finish(first)
    pushed.commit()
    assert (pushed.floor(), pushed.ranges()) == (3, [])


def test_what_was_done_by_a_former_holder_is_not_delivered_again() -> None:
    pushed = Pushed()
    pushed.store(*bodies(6))
    pushed.wired.broker.give("me", "t", 0)
    cursor = pushed.groups.cursors[pushed.number(0)]
    cursor.floor, cursor.ranges = 1, [(2, 4)]
    pushed.group.start(pushed._news, pushed.wired.now)
    pushed.wired.run()
    pushed.work()
    assert pushed.bodies == [b"1", b"4", b"5"]
    pushed.commit()
    assert pushed.floor() == 6


def test_what_the_subscription_leaves_out_is_acked_with_the_rest() -> None:
    pushed = Pushed(expression="paid")
    pushed.store(b"a", tag="new")
    pushed.store(b"b", tag="paid")
    pushed.store(b"c", tag="new")
    pushed.start(0)
    pushed.work()
    pushed.wired.advance(1_000)
    assert (pushed.bodies, pushed.floor()) == ([b"b"], 3)


def test_failures_are_nacked_and_hold_nothing_else_up() -> None:
    pushed = Pushed(failing)
    pushed.store(*bodies(5))
    pushed.start(0)
    pushed.work()
    nacked = [message for _, message in pushed.groups.nacked]
    assert [message.offset for message in nacked] == [1, 3]
    assert nacked[0].cause == "ValueError: no"
    pushed.commit()
    assert pushed.floor() == 5


def test_a_failure_that_is_not_told_yet_keeps_the_floor() -> None:
    pushed = Pushed(failing)
    pushed.wired.broker.lose = lambda route: route.verb == 25
    pushed.store(*bodies(5))
    pushed.start(0)
    pushed.work()
    pushed.commit()
    assert (pushed.floor(), pushed.ranges()[0]) == (1, (2, 3))


@pytest.mark.parametrize(
    ("steer", "delay_ms", "dead"),
    [(Retry(delay=2), 2000, False), (Discard(dead_letter=True), None, True)],
)
def test_a_listener_steers_what_becomes_of_its_message(
    steer: Exception, delay_ms: int | None, dead: bool
) -> None:
    pushed = Pushed(lambda message: steer)
    pushed.store(b"a")
    pushed.start(0)
    pushed.work()
    [(_, message)] = pushed.groups.nacked
    assert (message.delay_ms, message.dead) == (delay_ms, dead)


def test_without_retries_a_failure_is_logged_and_done(caplog: pytest.LogCaptureFixture) -> None:
    pushed = Pushed(failing, model="broadcasting")
    pushed.store(*bodies(2))
    pushed.start(0)
    pushed.work()
    pushed.commit()
    assert (pushed.floor(), pushed.groups.nacked) == (2, [])
    assert "does not come again" in caplog.text


def test_batches_are_as_large_as_wished_and_no_larger() -> None:
    pushed = Pushed(batch=4)
    pushed.store(*bodies(10))
    pushed.start(0)
    sizes = []
    for _ in range(3):
        work = pushed.taken()
        sizes.append(len(work.messages))
        run(work)
        pushed.finish(work)
    assert sizes == [4, 4, 2]
    pushed.commit()
    assert pushed.floor() == 10


def test_no_more_is_fetched_than_may_be_in_work() -> None:
    pushed = Pushed(buffer_messages=4)
    pushed.start(0)
    for _ in range(3):
        pushed.store(*bodies(3))
    assert len(pushed.fetcher.buffer.items) == 2
    works = [pushed.taken() for _ in range(6)]
    assert pushed.take() is None, "what is in work counts, too"
    for work in works:
        run(work)
        pushed.finish(work)
    assert len(pushed.fetcher.buffer.items) == 1


def test_a_revoked_queue_goes_when_what_is_in_work_is_done_and_acked() -> None:
    pushed = Pushed()
    pushed.store(*bodies(3))
    pushed.start(0)
    work = pushed.taken()
    pushed.revoke(0)
    assert pushed.groups.released == []
    assert pushed.take() is None, "the rest is the next holder's"
    run(work)
    pushed.finish(work)
    assert pushed.groups.released == [pushed.number(0)]
    assert pushed.floor() == 1


def test_a_queue_that_is_gone_is_acked_by_nobody() -> None:
    pushed = Pushed()
    pushed.store(*bodies(3))
    pushed.start(0)
    work = pushed.taken()
    pushed.wired.broker.give("other", "t", 0)
    pushed.tell()
    run(work)
    assert pushed.finish(work)
    pushed.commit()
    assert pushed.floor() == 0
    assert pushed.fetcher.buffer.has_room


def test_what_waits_behind_a_slow_message_is_dealt_to_others() -> None:
    pushed = Pushed()
    pushed.store(*bodies(100))
    pushed.start(0)
    first = pushed.taken()
    run(first)
    pushed.finish(first)
    stalled = pushed.taken()
    assert len(stalled.messages) == 99
    next(stalled.iterator)
    pushed.news = 0
    pushed.wired.advance(40)
    assert pushed.news
    assert len(stalled.messages) == 1
    pushed.work()
    pushed.finish(stalled)
    pushed.commit()
    assert pushed.floor() == 100


def test_a_message_that_takes_too_long_has_failed_and_its_worker_is_replaced() -> None:
    pushed = Pushed(timeout_ms=5_000.0)
    replaced: list[bool] = []
    pushed.group.dispatcher.replace_worker = lambda: replaced.append(True)
    pushed.store(*bodies(3))
    pushed.start(0)
    stuck = pushed.taken()
    next(stuck.iterator)
    pushed.wired.advance(4_000)
    assert not replaced
    pushed.wired.advance(2_000)
    assert replaced == [True]
    [(_, message)] = pushed.groups.nacked
    assert "5 s" in message.cause
    pushed.work()
    assert not pushed.finish(stuck), "nobody needs it any more"
    pushed.commit()
    assert pushed.floor() == 3


def test_a_run_that_moves_on_in_time_is_left_alone() -> None:
    pushed = Pushed(timeout_ms=15.0)
    pushed.store(*bodies(50))
    pushed.start(0)
    pushed.finish(pushed.taken())
    work = pushed.taken()
    for _ in range(2):
        next(work.iterator)
        work.message_since_ms = pushed.wired.now.mono_ms
        pushed.wired.advance(12)
    assert not work.given_up


def test_one_worker_is_enough_for_a_quick_listener_and_not_for_a_slow_one() -> None:
    pushed = Pushed()
    pushed.store(*bodies(5_000))
    pushed.start(0)
    assert pushed.news
    assert pushed.group.dispatcher.wants_another
    first = pushed.taken()
    assert pushed.group.dispatcher.wants_another, "nothing is known of it yet"
    run(first)
    pushed.finish(first)
    pushed.taken()
    assert not pushed.group.dispatcher.wants_another


def test_a_list_is_filled_from_batch_after_batch_of_its_queue() -> None:
    pushed = Pushed(batch=10)
    for number in range(24):
        pushed.store(b"%d" % number)
    pushed.start(0)
    lists = [pushed.taken() for _ in range(3)]
    assert [len(work.messages) for work in lists] == [10, 10, 4]
    assert pushed.take() is None
    for work in reversed(lists):
        run(work)
        pushed.finish(work)
    assert sorted(map(int, pushed.bodies)) == list(range(24))
    pushed.commit()
    assert (pushed.floor(), pushed.ranges()) == (24, [])
    assert not pushed.fetcher.buffer.items
    assert pushed.fetcher.buffer.has_room


def test_of_a_list_of_several_batches_the_failed_ones_are_told_each_by_its_place() -> None:
    def listener(messages: Any) -> None:
        raise ValueError("no")

    pushed = Pushed(listener, batch=10)
    pushed.store(b"0", b"1")
    pushed.store(b"2")
    pushed.start(0)
    pushed.work()
    assert [message.offset for _, message in pushed.groups.nacked] == [0, 1, 2]
    pushed.commit()
    assert pushed.floor() == 3


def test_a_list_is_of_one_queue() -> None:
    pushed = Pushed(batch=10)
    for queue_id in (0, 1):
        for number in range(3):
            pushed.store(b"%d" % number, queue_id=queue_id)
    pushed.start(0, 1)
    for _ in range(2):
        work = pushed.taken()
        assert len({message.queue_id for message in work.messages}) == 1
        run(work)
        pushed.finish(work)
    pushed.work()
    assert len(pushed.seen) == 6


def test_a_queue_that_is_revoked_waits_for_all_batches_of_a_list() -> None:
    pushed = Pushed(batch=3)
    for number in range(5):
        pushed.store(b"%d" % number)
    pushed.start(0)
    work = pushed.taken()
    pushed.revoke(0)
    assert pushed.groups.released == []
    run(work)
    pushed.finish(work)
    assert pushed.groups.released == [pushed.number(0)]
    assert pushed.floor() == 3
