"""The conductor: starts a broker if none is named, workers in their own processes, and adds up.

Owns the course of each benchmark and its result. Must not print: progress goes to a callback, so
that the command line can show it as it likes and a test can ignore it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from shardmq.client import Admin

from ..broker import Broker
from .figures import ratio
from .machine import machine_facts
from .plan import Ack, Done, Mode, Plan
from .raw import RawFigures, measure_raw
from .team import Progressed, Worker
from .watch import ProcessFigures, Watch

__all__ = ["BenchResult", "BenchSettings", "run_bench"]

_TOPIC = "bench"
_FRAME_BYTES = 256 * 1024
"""What full batches are like; lone sends are compared with frames of their own size."""
_BATCH_OVERHEAD_BYTES = 64
_WARM_UP_SENDS = 200
_BUILT_BYTES_MAX = 64 * 1024 * 1024


class BenchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure."""

    kind: str
    """produce, consume, both or latency."""
    url: str | None = None
    """A running broker; None starts one."""
    directory: str | None = None
    """Where the own broker keeps its data; None is the temporary directory."""
    shards: int = 2
    queues: int = 8
    size: int = 100
    messages: int = 0
    seconds: float = 0.0
    mode: Mode = "batch"
    batch: int = 100_000
    """Messages of one call of `send_batch`; fewer if they are large."""
    ack: Ack = "synced"
    rate: float = 20_000.0
    raw_seconds: float = 2.0
    """How long each raw limit is measured; 0 leaves them out."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker did."""

    messages: int
    seconds: float
    messages_per_second: float
    bytes_per_second: float
    errors: dict[str, int]
    latency: Any
    cpu_seconds: float
    rss_peak_bytes: int


class BenchResult(msgspec.Struct, frozen=True, kw_only=True):
    """One run, complete enough to be compared with another machine's."""

    settings: BenchSettings
    produce: Side | None
    consume: Side | None
    processes: list[ProcessFigures]
    """The broker's; empty if it is not ours."""
    raw: RawFigures | None
    ratios: dict[str, float]
    machine: dict[str, Any]


def run_bench(settings: BenchSettings, progressed: Progressed) -> BenchResult:
    """One benchmark from the start of the broker to its result.

    Raises:
        ShardMQError: the broker cannot be reached, or the topic not be made.
        WorkerError: a worker failed or stands still.
    """
    with ExitStack() as stack:
        directory = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="shardmq-bench-", dir=settings.directory)
            )
        )
        url = settings.url or stack.enter_context(_own_broker(directory, settings.shards))
        topic = stack.enter_context(_topic(url, settings.queues, own=settings.url is None))
        processes: list[ProcessFigures] = []
        course = _COURSES[settings.kind]
        with _watched(settings.url is None, processes):
            produce, consume = course(settings, url, topic, progressed)
        raw = _raw(settings, directory)
    sides = {"produce": _side(produce), "consume": _side(consume)}
    if settings.kind == "consume":
        sides["produce"] = None  # it only made the backlog
    return BenchResult(
        settings=settings,
        processes=processes,
        raw=raw,
        ratios=_ratios(sides, raw),
        machine=machine_facts(directory.parent),
        **sides,
    )


@contextmanager
def _own_broker(directory: Path, shards: int) -> Iterator[str]:
    with Broker(directory / "data", shards=shards, listen="tcp://127.0.0.1:0") as broker:
        yield broker.url


@contextmanager
def _topic(url: str, queues: int, *, own: bool) -> Iterator[str]:
    """A fresh topic; on a broker that goes on it is deleted afterwards."""
    name = _TOPIC if own else f"{_TOPIC}-{os.getpid()}"
    with Admin(url) as admin:
        admin.create_topic(name, queues=queues)
        try:
            yield name
        finally:
            if not own:
                admin.delete_topic(name)


@contextmanager
def _watched(ours: bool, processes: list[ProcessFigures]) -> Iterator[None]:
    """Watches the broker's processes: our children, before any worker is started."""
    if not ours:
        yield
        return
    with Watch(os.getpid()) as watch:
        yield
    processes.extend(watch.figures())


Course = Callable[[BenchSettings, str, str, Progressed], tuple[Done | None, Done | None]]


def _produce(
    settings: BenchSettings, url: str, topic: str, progressed: Progressed
) -> tuple[Done | None, Done | None]:
    plan = _producing(settings, url, topic)
    with Worker("produce", plan, progressed) as producer:
        producer.go()
        return producer.result(), None


def _consume(
    settings: BenchSettings, url: str, topic: str, progressed: Progressed
) -> tuple[Done | None, Done | None]:
    """A backlog first, as fast as it can be made; then the part that is measured."""
    plan = _producing(settings, url, topic)
    plan = msgspec.structs.replace(plan, mode="batch", ack="written", warm_up=0)
    with Worker("backlog", plan, progressed) as producer:
        producer.go()
        made = producer.result()
    reading = Plan(role="consume", url=url, topic=topic, expect=made.count)
    with Worker("consume", reading, progressed) as consumer:
        consumer.go()
        return made, consumer.result()


def _both(
    settings: BenchSettings, url: str, topic: str, progressed: Progressed
) -> tuple[Done | None, Done | None]:
    plan = _producing(settings, url, topic)
    reading = Plan(role="consume", url=url, topic=topic)
    with (
        Worker("produce", plan, progressed) as producer,
        Worker("consume", reading, progressed) as consumer,
    ):
        consumer.go()
        producer.go()
        made = producer.result()
        consumer.expect(made.count + plan.warm_up)
        return made, consumer.result()


def _latency(
    settings: BenchSettings, url: str, topic: str, progressed: Progressed
) -> tuple[Done | None, Done | None]:
    """An open loop; the first second is sent and received but not counted in the percentiles."""
    total = settings.messages or round(settings.rate * (settings.seconds + 1))
    sending = Plan(
        role="send_timed", url=url, topic=topic, ack=settings.ack, size=max(settings.size, 16),
        messages=total, rate=settings.rate,
    )  # fmt: skip
    receiving = Plan(
        role="receive_timed", url=url, topic=topic, size=sending.size,
        warm_up=min(round(settings.rate), total // 2),
    )  # fmt: skip
    with (
        Worker("receive", receiving, progressed) as receiver,
        Worker("send", sending, progressed) as sender,
    ):
        receiver.go()
        sender.go()
        made = sender.result()
        receiver.expect(made.count)
        return made, receiver.result()


_COURSES: dict[str, Course] = {
    "produce": _produce,
    "consume": _consume,
    "both": _both,
    "latency": _latency,
}


def _producing(settings: BenchSettings, url: str, topic: str) -> Plan:
    return Plan(
        role="produce", url=url, topic=topic, mode=settings.mode, ack=settings.ack,
        size=settings.size, messages=settings.messages, seconds=settings.seconds,
        warm_up=_WARM_UP_SENDS if settings.mode == "send" else 1,
        batch=max(1, min(settings.batch, _BUILT_BYTES_MAX // settings.size)),
    )  # fmt: skip


def _side(done: Done | None) -> Side | None:
    if done is None:
        return None
    per_second = 1 / done.seconds if done.seconds else 0.0
    return Side(
        messages=done.count,
        seconds=round(done.seconds, 4),
        messages_per_second=round(done.count * per_second, 1),
        bytes_per_second=round(done.bytes * per_second, 1),
        errors=done.errors,
        latency=done.latency,
        cpu_seconds=done.cpu_seconds,
        rss_peak_bytes=done.rss_peak_bytes,
    )


def _raw(settings: BenchSettings, directory: Path) -> RawFigures | None:
    if not settings.raw_seconds or settings.kind == "latency":
        return None
    lone = settings.mode == "send" and settings.kind == "produce"
    frame_bytes = settings.size + _BATCH_OVERHEAD_BYTES if lone else _FRAME_BYTES
    return measure_raw(max(frame_bytes, settings.size), settings.raw_seconds, directory)


def _ratios(sides: dict[str, Side | None], raw: RawFigures | None) -> dict[str, float]:
    """Body bytes a second against each limit's payload bytes a second."""
    ratios: dict[str, float] = {}
    for name, side in sides.items():
        if side is None or raw is None:
            continue
        ratios[f"{name}_to_sockets"] = ratio(side.bytes_per_second, raw.sockets_bytes_per_second)
        if name == "produce":
            rate = side.bytes_per_second
            ratios["produce_to_writev"] = ratio(rate, raw.writev_bytes_per_second)
            ratios["produce_to_writev_synced"] = ratio(rate, raw.writev_synced_bytes_per_second)
    return ratios
