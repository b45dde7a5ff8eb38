"""RECEIVE: who is answered when, with what; what wakes who waits; what a restart keeps."""

from __future__ import annotations

import pytest

from shardmq.actors.kernel.ports import Refusal
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import Grant, GrantQueue, Start
from shardmq.actors.protocol.limits import INVISIBLE_MS_MAX, RECEIVE_MESSAGES_MAX
from shardmq.actors.protocol.messages import Taken
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import EVERYBODY, Receive
from shardmq.shards import outflow, receive, receivers
from support.grouped import EARLIEST, GROUP
from support.retrying import DEAD, QUEUE
from support.work_shard import INVISIBLE_MS, OTHER, WorkingShard, got


@pytest.fixture
def shard() -> WorkingShard:
    under_test = WorkingShard()
    under_test.prepare()
    return under_test


@pytest.fixture
def filled(shard: WorkingShard) -> WorkingShard:
    shard.fill(QUEUE, *[b"%d" % at for at in range(10)])
    shard.turn()
    return shard


def test_messages_are_handed_out_once_and_the_answer_leaves_without_a_sync(
    filled: WorkingShard,
) -> None:
    reply = filled.receive_reply(4)
    assert reply.until_ms == filled.clock.now().wall_ms + INVISIBLE_MS
    (part,) = reply.parts
    assert (part.queue, part.generation, part.offset, part.count) == (QUEUE, 1, 0, 4)
    assert [one.body for one in filled.receive(4)] == [b"4", b"5", b"6", b"7"]
    assert filled.offsets(4) == [8, 9]
    assert filled.offsets(4) == []
    assert filled.rows() == [(0, 4, 1, 1, True), (4, 8, 1, 2, True), (8, 10, 1, 3, True)]


def test_what_is_not_acked_in_time_comes_again_in_order_with_one_attempt_more(
    filled: WorkingShard,
) -> None:
    filled.receive(6)
    filled.clock.advance(INVISIBLE_MS - 1)
    assert filled.offsets(2) == [6, 7]
    filled.clock.advance(1)
    assert [(one.offset, one.attempt) for one in filled.receive(4)] == [
        (0, 2), (1, 2), (2, 2), (3, 2),
    ]  # fmt: skip
    assert [(one.offset, one.attempt) for one in filled.receive(9)] == [
        (4, 2), (5, 2), (8, 1), (9, 1),
    ]  # fmt: skip


def test_what_is_handed_out_survives_a_kill_with_attempts_times_and_receipts(
    filled: WorkingShard,
) -> None:
    filled.receive(3)
    filled.clock.advance(INVISIBLE_MS)
    filled.receive(2, receipt=77)
    rows = filled.rows()
    filled.restart()
    assert filled.rows() == rows
    assert [(one.offset, one.attempt) for one in filled.receive(9, receipt=77)] == [(0, 2), (1, 2)]
    assert [(one.offset, one.attempt) for one in filled.receive(2)] == [(2, 2), (3, 1)]
    filled.clock.advance(INVISIBLE_MS)
    assert [one.attempt for one in filled.receive(3)] == [3, 3, 3]


def test_the_same_receipt_gets_the_same_messages_and_nothing_new(filled: WorkingShard) -> None:
    first = filled.receive_reply(3, receipt=9)
    filled.clock.advance(10)
    assert filled.receive_reply(8, receipt=9) == first
    assert filled.core.stats()["receives_repeated"] == 1
    assert filled.offsets(1) == [3]
    filled.clock.advance(INVISIBLE_MS)  # then it is a new wish
    assert [(one.offset, one.attempt) for one in filled.receive(1, receipt=9)] == [(0, 2)]


def test_the_same_receipt_is_answered_whoever_stands_in_line(filled: WorkingShard) -> None:
    first = filled.receive_reply(10, receipt=9)
    assert filled.turn([filled.receive_letter(wait_ms=900, receipt=77)]) == []
    assert filled.receive_reply(10, receipt=9) == first
    # The answer was lost while the retry waited in another session: both get the same.
    letters = [filled.receive_letter(4, wait_ms=900, receipt=88, session=one) for one in (2, 3)]
    assert filled.turn(letters) == []
    filled.fill(QUEUE, *[b"x"] * 40)
    (_, one, other) = filled.turn()
    assert got(one) == got(other)
    assert [message.offset for message in got(one)] == [42, 43, 44, 45]


def test_queues_take_turns(shard: WorkingShard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "QUANTUM_MESSAGES", 4)
    for queue in (QUEUE, OTHER):
        shard.fill(queue, *[b"x"] * 10)
    shard.turn()
    got = [shard.receive(2)[0].queue for _ in range(6)]
    assert got == [QUEUE, QUEUE, OTHER, OTHER, QUEUE, QUEUE]
    assert len(shard.receive(9)) == 8
    assert shard.receive() == []


def test_a_receive_that_waits_is_woken_by_news(shard: WorkingShard) -> None:
    assert shard.turn([shard.receive_letter(wait_ms=500)]) == []
    assert shard.core.stats()["receives_parked"] == 1
    shard.fill(QUEUE, b"a")
    assert shard.core.wake_at_ms == 0
    (reply,) = shard.turn()
    assert [one.body for one in got(reply)] == [b"a"]
    assert shard.core.stats()["receives_parked"] == 0


def test_a_receive_that_waits_is_woken_by_what_becomes_visible(filled: WorkingShard) -> None:
    filled.receive(10)
    assert filled.turn([filled.receive_letter(wait_ms=9_000)]) == []
    wake_ms = filled.core.wake_at_ms
    assert wake_ms is not None
    assert wake_ms <= filled.clock.now().mono_ms + INVISIBLE_MS
    assert filled.pass_time(INVISIBLE_MS - 1) == []
    (reply,) = filled.pass_time(1)
    assert [(one.offset, one.attempt) for one in got(reply)] == [(at, 2) for at in range(10)]


def test_a_receive_that_waits_is_woken_by_a_new_grant(filled: WorkingShard) -> None:
    assert filled.turn([filled.receive_letter(3, wait_ms=500, group_id=8)]) == []
    one = GrantQueue(queue=QUEUE, generation=1, member=EVERYBODY, start=EARLIEST)
    grant = Grant(group_id=8, group="other", queues=[one])
    (reply,) = filled.turn([filled.letter(Verb.GRANT, grant)])  # before the grant is durable
    assert [one.offset for one in got(reply)] == [0, 1, 2]


def test_who_waits_hears_of_nothing_at_its_deadline(shard: WorkingShard) -> None:
    shard.turn([shard.receive_letter(wait_ms=500, group_id=99), shard.receive_letter(wait_ms=700)])
    assert shard.pass_time(499) == []
    (reply,) = shard.pass_time(1)
    assert (reply.code, got(reply)) == (Code.OK, [])
    assert len(shard.pass_time(200)) == 1
    assert shard.core.drained()


def test_the_first_one_to_come_is_the_first_one_served(shard: WorkingShard) -> None:
    letters = [shard.receive_letter(2, wait_ms=500) for _ in range(3)]
    shard.turn(letters)
    shard.fill(QUEUE, b"a", b"b", b"c")
    replies = shard.turn()
    assert [[one.body for one in got(reply)] for reply in replies] == [[b"a", b"b"], [b"c"]]
    assert [reply.request_id for reply in replies] == sorted(one.request_id for one in replies)


def test_a_retry_of_a_request_takes_its_place(shard: WorkingShard) -> None:
    for _ in range(2):
        assert shard.turn([shard.receive_letter(wait_ms=500, receipt=5, request_id=900)]) == []
    assert shard.core.stats()["receives_parked"] == 1
    shard.fill(QUEUE, b"a")
    assert len(shard.turn()) == 1


def test_nonsense_is_refused(shard: WorkingShard) -> None:
    for header in (
        Receive(group_id=GROUP, receipt=0),
        Receive(group_id=GROUP, receipt=1, count_max=RECEIVE_MESSAGES_MAX + 1),
        Receive(group_id=GROUP, receipt=1, invisible_ms=0),
        Receive(group_id=GROUP, receipt=1, invisible_ms=INVISIBLE_MS_MAX + 1),
        Receive(group_id=GROUP, receipt=1, max_attempts=0),
    ):
        assert shard.ask(Verb.RECEIVE, header).code == Code.INVALID_ARGUMENT


def test_what_the_journal_does_not_take_is_not_handed_out(
    filled: WorkingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.receive(10)
    filled.turn([filled.receive_letter(wait_ms=5_000)])
    for refusal, code in ((Refusal.READ_ONLY, Code.READ_ONLY), (Refusal.BUSY, Code.BUSY)):
        monkeypatch.setattr(filled.journal, "refusal", lambda size, why=refusal: why)
        assert filled._answer(filled.receive_letter()).code == code
    filled.clock.advance(INVISIBLE_MS)
    filled.core.handle([], filled.clock.now())
    wake_ms = filled.core.wake_at_ms
    assert wake_ms is not None
    assert filled.clock.now().mono_ms < wake_ms
    monkeypatch.setattr(filled.journal, "refusal", lambda size: Refusal.DISK_FULL)
    (reply,) = filled.pass_time(20)
    assert len(got(reply)) == 10


def test_too_many_do_not_wait(shard: WorkingShard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "SESSION_REQUESTS_MAX", 1)
    shard.turn([shard.receive_letter(wait_ms=500)])
    assert shard._answer(shard.receive_letter(wait_ms=500)).code == Code.BUSY
    assert shard.turn([shard.receive_letter(wait_ms=500, session=2)]) == []
    monkeypatch.setattr(receivers, "PARKED_POLLS_MAX", 2)
    assert shard._answer(shard.receive_letter(wait_ms=500, session=3)).code == Code.BUSY


def test_a_stop_sends_home_who_waits(shard: WorkingShard) -> None:
    shard.turn([shard.receive_letter(wait_ms=500), shard.receive_letter(0, wait_ms=500)])
    assert not shard.core.drained()
    assert len(shard.core.stop(shard.clock.now())) == 2
    assert shard.core.drained()
    assert shard._answer(shard.receive_letter()).code == Code.SHUTTING_DOWN


def test_a_message_that_was_handed_out_too_often_is_a_dead_letter(filled: WorkingShard) -> None:
    for _ in range(2):
        filled.receive(3, max_attempts=2)
        filled.clock.advance(INVISIBLE_MS)
    assert filled.offsets(2, max_attempts=2) == [3, 4]
    filled.sync()
    filled.settle()
    dead = filled.seen(DEAD)
    assert [one.body for one in dead] == [b"0", b"1", b"2"]
    assert {one.properties["%CAUSE"] for one in dead} == {"not acknowledged in time"}
    assert {one.properties["%ATTEMPT"] for one in dead} == {"2"}
    assert filled.cursor(QUEUE).floor == 3


# ------------------------------------------------------------------ grants


def test_a_reset_ends_what_is_handed_out_and_starts_there(filled: WorkingShard) -> None:
    filled.receive(6)
    filled.grant(QUEUE, 2, member=EVERYBODY, reset=True, start=Start(at="offset", offset=4))
    assert filled.rows() == []
    assert [(one.offset, one.attempt) for one in filled.receive()] == [
        (at, 1) for at in range(4, 10)
    ]


def test_a_grant_without_reset_keeps_what_is_handed_out(filled: WorkingShard) -> None:
    filled.receive(6)
    filled.grant(QUEUE, 2, member=EVERYBODY)
    assert filled.offsets() == [6, 7, 8, 9]
    filled.clock.advance(INVISIBLE_MS)
    assert [one.attempt for one in filled.receive()] == [2] * 10


def test_a_queue_that_is_one_members_is_nobody_elses(filled: WorkingShard) -> None:
    filled.grant(QUEUE, 2, member="ann")
    assert filled.receive() == []
    filled.grant(QUEUE, 3, member=EVERYBODY)
    assert len(filled.receive()) == 10


def test_a_forgotten_group_has_nothing_and_who_waits_goes_home_in_time(
    filled: WorkingShard,
) -> None:
    filled.receive()
    filled.turn([filled.receive_letter(wait_ms=500)])
    filled.ask(Verb.GRANT, Grant(live_group_ids=[9]))
    assert filled.core.stats()["work_queues"] == filled.core.stats()["handouts"] == 0
    assert [got(reply) for reply in filled.pass_time(INVISIBLE_MS)] == [[]]


def test_a_snapshot_knows_what_is_handed_out() -> None:
    shard = WorkingShard(slice_every_ms=0, slice_buckets=65, segment_bytes=1 << 15)
    shard.prepare()
    shard.fill(QUEUE, *[b"x" * 300] * 40)
    shard.turn()
    shard.receive(5, receipt=70)
    rows, digests = shard.rows(), shard.digests()
    for _ in range(6):  # segments begin, so snapshots are made
        shard.fill(OTHER, *[b"x" * 300] * 40)
        for _ in range(20):
            shard.pass_time(1)
    assert shard.journal.keep_from > 0
    shard.restart()
    assert shard.rows() == rows
    assert shard.digests()["cursors"] == digests["cursors"]
    assert [one.offset for one in shard.receive(5, receipt=70)] == [0, 1, 2, 3, 4]


# ------------------------------------------------------------------ bounds of a turn


def test_a_turn_ends_and_the_next_one_goes_on(
    shard: WorkingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard.fill(QUEUE, *[b"x" * 100] * 6)
    shard.turn()
    monkeypatch.setattr(receive, "TURN_BYTES_MAX", 200)
    letters = [shard.receive_letter(1) for _ in range(6)]  # none of them wants to wait
    now = shard.clock.now()
    assert len(shard.core.handle(letters, now)) == 2
    assert shard.core.wake_at_ms == 0
    assert len(shard.core.handle([], now)) == 2
    assert len(shard.core.handle([], now)) == 2
    monkeypatch.setattr(receive, "TURN_ANSWERS_MAX", 1)
    assert len(shard.core.handle([shard.receive_letter(1)], now)) == 1  # empty


def test_a_router_that_takes_no_answers_gets_no_messages(
    shard: WorkingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outflow, "ANSWERS_BYTES_MAX", 1_000)
    shard.fill(QUEUE, *[b"x" * 1_000] * 3)
    shard.turn()
    assert len(shard.receive(1)) == 1
    assert shard.turn([shard.receive_letter(1, wait_ms=9_000) for _ in range(2)]) == []
    assert shard.core.stats()["receives_held_back"] == 2
    assert shard.rows() == [(0, 1, 1, 1, True)]
    replies = shard.turn([shard.letter(Verb.TAKEN, Taken(bytes=2_000))])
    assert sum(bool(one.payload) for one in replies) == 1
    (reply,) = [one for one in shard.pass_time(outflow.STALL_MS) if one.payload]  # all is lost
    assert len(got(reply)) == 1
    assert shard.core.stats()["receives_held_back"] == 0


def test_who_is_held_back_goes_home_in_time(
    filled: WorkingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outflow, "ANSWERS_BYTES_MAX", 1)
    filled.receive(1)
    filled.turn([filled.receive_letter(1, wait_ms=100)])
    (reply,) = filled.pass_time(100)
    assert got(reply) == []
    assert filled.core.drained()


def test_a_fault_ends_only_the_request_that_met_it(
    filled: WorkingShard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> object:
        raise ValueError("a bug")

    monkeypatch.setattr(filled.core._work.receiving._handing, "take", fail)
    assert filled._answer(filled.receive_letter()).code == Code.INTERNAL
    assert filled.core.stats()["internal_errors"] == 1
    monkeypatch.undo()
    filled.clock.advance(1_000)
    assert len(filled.receive()) == 10
