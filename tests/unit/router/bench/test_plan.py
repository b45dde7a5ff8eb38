"""Plans and answers: what crosses the pipes comes out as it went in."""

from __future__ import annotations

import msgspec
import pytest

from shardmq.router.bench.figures import LatencyFigures
from shardmq.router.bench.plan import (
    Answer,
    Done,
    Expect,
    Go,
    Order,
    Plan,
    Progress,
    Ready,
    decode_answer,
    decode_order,
    encode,
)

PLAN = Plan(role="send_timed", url="tcp://127.0.0.1:1", topic="bench", rate=20_000, seconds=5)
LATENCY = LatencyFigures(count=1, p50_ms=1, p99_ms=2, p999_ms=3, max_ms=4, mean_ms=1.5)


@pytest.mark.parametrize("order", [PLAN, Go(), Expect(count=7)])
def test_orders_come_out_as_they_went_in(order: Order) -> None:
    line = encode(order)
    assert line.count(b"\n") == 1
    assert decode_order(line) == order


@pytest.mark.parametrize(
    "answer",
    [Ready(pid=1), Progress(count=2, seconds=0.5),
     Done(count=3, bytes=300, seconds=1.5, errors={"Busy": 2}, latency=LATENCY)],
)  # fmt: skip
def test_answers_come_out_as_they_went_in(answer: Answer) -> None:
    assert decode_answer(encode(answer)) == answer


def test_an_answer_is_no_order() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_order(encode(Ready(pid=1)))
