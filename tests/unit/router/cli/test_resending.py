"""The pace of a resend on a clock that only the test moves, and what it says of a failure."""

from __future__ import annotations

import io
from typing import Any

import pytest

from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import Message, errors
from shardmq.router.cli.deadletters import DeadLetter, dead_letter
from shardmq.router.cli.resending import Pace, Resending
from support.clients import serve
from support.fake_broker import FakeBroker
from support.received import Letter


@pytest.mark.parametrize(("per_second", "batch"), [(1, 1), (9, 1), (100, 10), (1_000, 100)])
def test_a_batch_is_a_tenth_of_a_seconds_worth(per_second: int, batch: int) -> None:
    assert Pace(per_second, 0.0).batch == batch


def test_each_batch_waits_for_the_time_of_the_one_before() -> None:
    pace = Pace(100, 0.0)
    assert pace.wait(10, 0.0) == 0.0
    assert pace.wait(10, 0.02) == pytest.approx(0.08)
    assert pace.wait(5, 0.11) == pytest.approx(0.09)


def test_a_pause_is_not_made_up_for() -> None:
    pace = Pace(100, 0.0)
    pace.wait(10, 0.0)
    assert pace.wait(10, 60.0) == 0.0
    assert pace.wait(10, 60.0) == pytest.approx(0.1)


def letter(queue_id: int, offset: int) -> DeadLetter:
    return dead_letter(Letter(topic="%DLQ%g", queue_id=queue_id, offset=offset))


def test_a_topic_that_is_gone_keeps_no_other_back() -> None:
    broker = FakeBroker()
    broker.create("there", 1)
    with serve(broker) as url, Resending(url, 40, io.StringIO()) as resending:
        for offset in range(4):
            resending.send(letter(0, offset), Message("there", b"a"))
            resending.send(letter(1, offset), Message("gone", b"b"))
    assert (resending.sent, resending.left) == ({"there": 4}, {"gone": 4})
    assert broker.queue("there", 0).latest == 4
    assert resending.behind == {0: 3, 1: 3}


def test_a_failure_tells_what_was_sent_and_where_to_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    broker = FakeBroker()
    broker.create("there", 1)
    broker.create("closed", 1)
    number = broker.queue("closed", 0).number

    def answer(route: Any, header: bytes, payload: list[bytes]) -> Any:
        if route.verb == Verb.PRODUCE and refuses(header):
            return Code.FORBIDDEN, m.ErrorReply(name="FORBIDDEN", message="not yours")
        return None

    def refuses(header: bytes) -> bool:
        return decode_header(header, m.Produce).queues[0].queue == number

    broker.answer = answer

    def send(resending: Resending) -> None:
        with resending:
            for offset in range(8):
                topic = "closed" if offset == 6 else "there"
                resending.send(letter(0, offset), Message(topic, b"a"))

    with serve(broker) as url:
        resending = Resending(url, 40, io.StringIO())
        with pytest.raises(errors.Forbidden):
            send(resending)
    assert (resending.sent, resending.behind) == ({"there": 6}, {0: 5})
    assert broker.queue("there", 0).latest == 6
    assert "6 were sent before this, go on behind them with --after 0/5" in capsys.readouterr().err
