"""Opened: when a parcel ends its linger, when it waits for an answer, when it is given up."""

from __future__ import annotations

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.compress import Compression
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import Message
from shardmq.client.produce.core import HOLD_MS, ProducerCore
from shardmq.client.produce.opened import Opened, ProducerOptions
from shardmq.client.produce.receipts import Parcel, SendFuture
from support.clients import Wired


def test_times_count_from_the_first_message() -> None:
    options = ProducerOptions("synced", 3_000.0, 5.0, Compression.NONE, 1 << 20)
    opened = Opened(Parcel("t", 1), 1_000, Now(50.0, 777), options)
    assert (opened.due_ms, opened.deadline_ms, opened.born_ms) == (55.0, 3_050.0, 777)
    assert (opened.room, opened.used_max) == (1_000, 1_000)


def put(wired: Wired, core: ProducerCore, body: bytes) -> SendFuture:
    future = core.add_checked(Message("t", body), None, None, wired.now)
    assert future is not None, "the buffer has room"
    wired.run()
    return future


def started() -> tuple[Wired, ProducerCore]:
    """A producer that knows the route."""
    wired = Wired()
    wired.broker.create("t", 4)
    core = wired.producer()
    put(wired, core, b"0")
    wired.advance(5)
    return wired, core


def test_while_an_answer_is_out_later_messages_gather() -> None:
    wired, core = started()
    first = core.add_checked(Message("t", b"1"), None, None, wired.now)
    core.urge("t", wired.now)
    answers = [wired.core.outbox.popleft()]
    assert first is not None, "it is on its way"
    second = core.add_checked(Message("t", b"2"), None, None, wired.now)
    assert second is not None
    wired.advance(HOLD_MS)
    assert not second.done(), "its linger is over, but an answer is out"
    for frames in answers:
        for reply in wired.broker.handle(frames):
            wired.core.receive(reply, wired.now)
    wired.run()
    assert first.done()
    assert second.done(), "the answer sends it"


def test_an_answer_that_is_late_holds_the_others_back_for_a_moment_only() -> None:
    wired, core = started()
    wired.broker.lose = lambda route: route.verb == Verb.PRODUCE
    put(wired, core, b"lost")
    wired.advance(5)
    wired.broker.lose = lambda route: False
    later = put(wired, core, b"x")
    wired.advance(5 + HOLD_MS)
    assert later.done()


def test_a_message_that_is_waited_for_does_not_wait_for_the_answer_to_others() -> None:
    wired, core = started()
    wired.broker.lose = lambda route: route.verb == Verb.PRODUCE
    put(wired, core, b"lost")
    wired.advance(5)
    wired.broker.lose = lambda route: False
    urgent = put(wired, core, b"x")
    core.urge("t", wired.now)
    wired.run()
    assert urgent.done()
