"""What a worker does: the four loads, each on the public client library and nothing else.

Owns the loops and their clocks. Must not know processes or pipes: progress goes to a callback.

Everything that a user would pay for is inside the measured time: a producer's time ends with its
last acknowledgement, a consumer makes every message object and reads its body. What is outside is
said: messages are built once and sent again and again, since building them is the user's work.

Latency is measured on an open loop: message i is meant to leave at start + i / rate, and that
intended time stands in its body. If sender or broker fall behind, the wait counts. A closed loop
would send less while it is slow and so leave its worst times out (coordinated omission).
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from shardmq.client import Message, Producer, PullConsumer
from shardmq.client.errors import SendError

from .figures import latency_figures
from .plan import Done, Plan

__all__ = ["LOADS", "Load", "STAMP_BYTES", "bodies_of", "stamped"]

Progressed = Callable[[int, float], None]
Expected = Callable[[], int]

STAMP_BYTES = 16
"""Intended time (ns, monotonic) and sequence, both u64, at the start of a timed message."""
_POLL_SECONDS = 0.25
_POLL_MESSAGES = 10_000
_PROGRESS_NS = 250_000_000
_SEND_CHUNK = 100
_ASYNC_CHUNK = 10_000
_TIMED_LINGER_SECONDS = 0.001
_TIMED_TICK_SECONDS = 0.0002
_FUTURES_MAX = 3_000_000
"""48 bytes each; a longer run looks at them in between, inside its time."""


def bodies_of(size: int, count: int) -> list[bytes]:
    """`count` different bodies of `size` bytes."""
    return [(b"%d|" % index).ljust(size, b"x")[:size] for index in range(count)]


def stamped(intended_ns: int, sequence: int, size: int) -> bytes:
    """A body that says when it was meant to be sent."""
    stamp = intended_ns.to_bytes(8, "little") + sequence.to_bytes(8, "little")
    return stamp.ljust(size, b"x")


class _Meter:
    """Counts what is done, tells now and then, and knows when to stop."""

    def __init__(self, plan: Plan, progressed: Progressed) -> None:
        self.count = 0
        self.errors: Counter[str] = Counter()
        self.start_ns = time.monotonic_ns()
        self._messages = plan.messages
        self._end_ns = self.start_ns + round(plan.seconds * 1e9) if plan.seconds else 0
        self._told_ns = self.start_ns
        self._progressed = progressed
        self._stop_ns = 0

    def stop(self) -> None:
        """The measured time ends here, not with `done`."""
        self._stop_ns = time.monotonic_ns()

    def more(self, ahead: int = 0) -> bool:
        """Whether to go on, with `ahead` messages handed over and not yet counted."""
        now_ns = time.monotonic_ns()
        if now_ns - self._told_ns >= _PROGRESS_NS:
            self._told_ns = now_ns
            self._progressed(self.count + ahead, (now_ns - self.start_ns) / 1e9)
        if self._messages and self.count + self.failed + ahead >= self._messages:
            return False
        return not self._end_ns or now_ns < self._end_ns

    @property
    def failed(self) -> int:
        return self.errors.total()

    def rest(self, chunk: int, ahead: int = 0) -> int:
        """How many of `chunk` messages are still wanted."""
        if not self._messages:
            return chunk
        return min(chunk, self._messages - self.count - self.failed - ahead)

    def done(self, size: int, samples_ns: Any = ()) -> Done:
        seconds = ((self._stop_ns or time.monotonic_ns()) - self.start_ns) / 1e9
        return Done(
            count=self.count,
            bytes=self.count * size,
            seconds=seconds,
            errors=dict(self.errors),
            latency=latency_figures(samples_ns),
        )


class Load(Protocol):
    """A prepared load: made outside the measured time, run inside it, then closed."""

    def run(self, progressed: Progressed, expected: Expected) -> Done:
        """Does all of it. `expected` tells a consumer how many messages there will be, 0 while
        nobody knows."""

    def close(self) -> None: ...


class Produce:
    """As fast as one producer can: batches, single asynchronous sends, or lone sends."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        bodies = bodies_of(plan.size, plan.batch)
        self._messages = [Message(plan.topic, body) for body in bodies]
        self._producer = Producer(plan.url, ack=plan.ack, timeout=plan.timeout)
        for message in self._messages[: plan.warm_up]:
            self._producer.send(message)

    def close(self) -> None:
        self._producer.close()

    def run(self, progressed: Progressed, expected: Expected) -> Done:
        meter = _Meter(self.plan, progressed)
        if self.plan.mode == "batch":
            self._batches(meter)
        elif self.plan.mode == "async":
            self._asynchronous(meter)
        else:
            return meter.done(self.plan.size, self._lone(meter))
        return meter.done(self.plan.size)

    def _batches(self, meter: _Meter) -> None:
        send_batch, messages = self._producer.send_batch, self._messages
        while meter.more():
            wanted = messages[: meter.rest(len(messages))]
            try:
                meter.count += len(send_batch(wanted))
            except SendError as error:
                for outcome in error.outcomes or [error] * len(wanted):
                    if isinstance(outcome, SendError):
                        meter.errors[type(outcome).__name__] += 1
                    else:
                        meter.count += 1

    def _asynchronous(self, meter: _Meter) -> None:
        """One call a message. The time ends once the fate of each is known, then it is read."""
        send_async, messages = self._producer.send_async, self._messages
        futures: list[Any] = []
        while meter.more(len(futures)):
            for message in messages[: meter.rest(_ASYNC_CHUNK, len(futures))]:
                futures.append(send_async(message))
            if len(futures) > _FUTURES_MAX:
                self._producer.flush()
                _settle(futures, meter)
                futures.clear()
        self._producer.flush()
        meter.stop()
        _settle(futures, meter)

    def _lone(self, meter: _Meter) -> array[int]:
        """One at a time, each waited for: the round trip is the sample."""
        send, samples_ns = self._producer.send, array("q")
        clock = time.monotonic_ns
        while meter.more():
            for message in self._messages[: meter.rest(_SEND_CHUNK)]:
                sent_ns = clock()
                try:
                    send(message)
                except SendError as error:
                    meter.errors[type(error).__name__] += 1
                else:
                    samples_ns.append(clock() - sent_ns)
                    meter.count += 1
        return samples_ns


def _settle(futures: list[Any], meter: _Meter) -> None:
    for future in futures:
        error = future.exception()
        if error is None:
            meter.count += 1
        else:
            meter.errors[type(error).__name__] += 1


class Consume:
    """Reads all queues from the start; makes every message and looks at every body."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._consumer = consumer_of_all(plan.url, plan.topic)

    def close(self) -> None:
        self._consumer.close()

    def run(self, progressed: Progressed, expected: Expected) -> Done:
        meter = _Meter(self.plan, progressed)
        body_bytes = 0
        last_ns = meter.start_ns
        while meter.more() and not 0 < expected() <= meter.count:
            messages = self._consumer.poll(timeout=_POLL_SECONDS, max_messages=_POLL_MESSAGES)
            for message in messages:
                body_bytes += len(message.body)
            if messages:
                meter.count += len(messages)
                last_ns = time.monotonic_ns()
        return Done(
            count=meter.count,
            bytes=body_bytes,
            seconds=(last_ns - meter.start_ns) / 1e9,
            errors={},
        )


class SendTimed:
    """Sends on a schedule, whatever happens."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._producer = Producer(
            plan.url, ack=plan.ack, timeout=plan.timeout, linger=_TIMED_LINGER_SECONDS
        )

    def close(self) -> None:
        self._producer.close()

    def run(self, progressed: Progressed, expected: Expected) -> Done:
        plan, clock = self.plan, time.monotonic_ns
        total = plan.messages or round(plan.rate * plan.seconds)
        meter = _Meter(Plan(role=plan.role, url="", topic="", messages=total), progressed)
        futures: list[Any] = []
        send_async, interval_ns = self._producer.send_async, 1e9 / plan.rate
        sent, start_ns = 0, meter.start_ns
        while sent < total:
            due = min(int((clock() - start_ns) / interval_ns) + 1, total)
            for sequence in range(sent, due):
                intended_ns = start_ns + round(sequence * interval_ns)
                body = stamped(intended_ns, sequence, plan.size)
                futures.append(send_async(Message(plan.topic, body)))
            sent = due
            meter.more(ahead=sent)
            ahead_ns = start_ns + sent * interval_ns - clock()
            if ahead_ns > 0:
                # Waking for each message would take a core by itself; what is late counts as late.
                time.sleep(max(ahead_ns / 1e9, _TIMED_TICK_SECONDS))
        self._producer.flush()
        _settle(futures, meter)
        return meter.done(plan.size)


class ReceiveTimed:
    """Receives what `SendTimed` sends, and takes the time from the intended moment."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._consumer = consumer_of_all(plan.url, plan.topic)

    def close(self) -> None:
        self._consumer.close()

    def run(self, progressed: Progressed, expected: Expected) -> Done:
        meter = _Meter(self.plan, progressed)
        samples_ns, clock, warm_up = array("q"), time.monotonic_ns, self.plan.warm_up
        while meter.more() and not 0 < expected() <= meter.count:
            for message in self._consumer.poll(timeout=_POLL_SECONDS, max_messages=_POLL_MESSAGES):
                body = message.body
                if int.from_bytes(body[8:16], "little") >= warm_up:
                    samples_ns.append(clock() - int.from_bytes(body[:8], "little"))
                meter.count += 1
        return meter.done(self.plan.size, samples_ns)


def consumer_of_all(url: str, topic: str) -> PullConsumer:
    """A consumer of all queues of a topic, from their start."""
    consumer = PullConsumer(url, start_from="earliest")
    consumer.assign(topic)
    return consumer


LOADS: dict[str, Callable[[Plan], Load]] = {
    "produce": Produce,
    "consume": Consume,
    "send_timed": SendTimed,
    "receive_timed": ReceiveTimed,
}
