"""A consuming member of the demonstration, in a process of its own, so that it can be killed.

Owns what a member tells its parent: a frame for each batch of messages, and for each change of the
queues that it holds. Must not know the other members: `members.py` starts it and reads what it
tells.

What was told is in the pipe and outlives this process; only then the next `poll` says that it is
done. So a member that is killed has told all that it acknowledged, and perhaps a little more.
"""

from __future__ import annotations

import select
import struct
import sys
import time
from collections.abc import Iterator
from typing import IO, NamedTuple

import msgspec

from shardmq.client import PullConsumer

from .sender import TOPIC

__all__ = ["GROUP", "Taken", "Told", "frames_of", "main"]

GROUP = "flights-demo"
_POLL_SECONDS = 0.02
_POLL_MESSAGES = 4_000
_COMMIT_SECONDS = 0.1
_LENGTH = struct.Struct("<I")


class Taken(NamedTuple):
    """A message as it came."""

    row: bytes
    tag: str | None
    ordering_key: str | None
    keys: tuple[str, ...]
    properties: dict[str, str]
    queue_id: int
    offset: int


class Told(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One frame."""

    there_ns: int
    """When it happened, by the monotonic clock."""
    queue_ids: list[int]
    """All queues that the member holds."""
    taken: list[Taken] = []


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Told).decode


def frames_of(pipe: IO[bytes]) -> Iterator[Told]:
    """What a member tells until it ends; a frame that its end cut short is left out."""
    while len(head := pipe.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(head)
        frame = pipe.read(length)
        if len(frame) < length:
            return
        yield _decode(frame)


def tell(pipe: IO[bytes], told: Told) -> None:
    """Writes one frame; it is in the pipe when this returns."""
    frame = _encode(told)
    pipe.write(_LENGTH.pack(len(frame)) + frame)
    pipe.flush()


def consume(consumer: PullConsumer, pipe: IO[bytes], is_over: IO[bytes]) -> None:
    """Tells of all that comes until `is_over` is closed at its other end."""
    held: list[int] | None = None
    while not select.select([is_over], [], [], 0)[0]:
        messages = consumer.poll(timeout=_POLL_SECONDS, max_messages=_POLL_MESSAGES)
        there_ns = time.monotonic_ns()
        queue_ids = sorted(queue_id for _, queue_id in consumer.assignment())
        if not messages and queue_ids == held:
            continue
        held = queue_ids
        taken = [
            Taken(
                one.body, one.tag, one.ordering_key, tuple(one.keys), dict(one.properties),
                one.queue_id, one.offset,
            )
            for one in messages
        ]  # fmt: skip
        tell(pipe, Told(there_ns, queue_ids, taken))


def main() -> None:
    """`URL NAME`: joins, and consumes until standard input ends."""
    url, name = sys.argv[1:]
    with PullConsumer(
        url, group=GROUP, name=name, start_from="earliest", commit_interval=_COMMIT_SECONDS
    ) as consumer:
        consumer.subscribe(TOPIC)
        consumer.start()
        consume(consumer, sys.stdout.buffer, sys.stdin.buffer)


if __name__ == "__main__":
    main()
