"""One turn of a connection, the same under every driver: do everything that is ready.

News of the transport, timers, all sends, all receives, until nothing is left. libzmq's descriptors
are edge-triggered: nobody may wait on them before a turn came to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from shardmq.actors.kernel.ports import Now

from .core import ClientCore

__all__ = ["Socket", "turn"]


class Socket(Protocol):
    """What a turn needs of a wire."""

    def news(self) -> list[bool]: ...

    def receive(self) -> list[bytes] | None: ...

    def send(self, frames: list[bytes]) -> bool: ...


def turn(
    core: ClientCore,
    wire: Socket,
    now: Now,
    *,
    news: bool = True,
    enough: Callable[[], bool] | None = None,
) -> None:
    """Runs the core until neither it nor the wire has anything left to do.

    Args:
        news: False where it is known that the transport has none: asking it costs as much as a
            frame.
        enough: with nothing left to send and no call in flight a turn may end as soon as this
            says so, without asking the wire whether it is empty: nobody will answer.
    """
    outbox = core.outbox
    if news:
        # Once: news that come later wake whoever waits, again.
        for up in wire.news():
            (core.connected if up else core.disconnected)(now)
    while True:
        core.tick(now)
        while outbox and wire.send(outbox[0]):
            outbox.popleft()
        frames = wire.receive()
        if frames is None:
            return
        while frames is not None:
            core.receive(frames, now)
            if enough is not None and enough() and not core.expects:
                return
            frames = wire.receive()
