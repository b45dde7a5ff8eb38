"""A tiny actor for tests of real processes: it echoes, waits on request, and misbehaves on request.

Run as `python -m support.echo` by a supervisor whose PYTHONPATH has tests/. PRODUCE echoes the
payload at once; FETCH is parked until the actor stops, then answered SHUTTING_DOWN.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from shardmq.actors.kernel.clock import SystemClock
from shardmq.actors.kernel.ports import Letter, Now
from shardmq.actors.kernel.process import StartRefused, run_actor
from shardmq.actors.kernel.shell import Shell
from shardmq.actors.kernel.sockets import SocketPlan
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import pack_reply, unpack_route
from shardmq.actors.protocol.verbs import Verb


class EchoConfig(msgspec.Struct):
    mailbox: str
    mode: str = "serve"
    """serve; refuse, fail, disk, slow, modules (while starting); once (refuses the second start);
    hang (at the first OFFSETS)."""


class EchoCore:
    """Answers PRODUCE with its payload; keeps FETCH until it stops."""

    def __init__(self, mode: str = "serve") -> None:
        self._mode = mode
        self._parked: list[Letter] = []
        self.wake_at_ms: float | None = None

    def handle(self, letters: Sequence[Letter], now: Now) -> list[Letter]:
        replies: list[Letter] = []
        for letter in letters:
            verb = unpack_route(letter[2][1]).verb
            if verb == Verb.FETCH:
                self._parked.append(letter)
            elif verb == Verb.OFFSETS:
                while self._mode == "hang":
                    time.sleep(0.01)
            else:
                replies.append(_reply(letter, Code.OK))
        return replies

    def link_changed(self, link: str, up: bool, now: Now) -> list[Letter]:
        return []

    def stop(self, now: Now) -> list[Letter]:
        parked, self._parked = self._parked, []
        return [_reply(letter, Code.SHUTTING_DOWN) for letter in parked]

    def drained(self) -> bool:
        return not self._parked

    def stats(self) -> dict[str, Any]:
        return {"parked": len(self._parked)}


def _reply(letter: Letter, code: int) -> Letter:
    link, peer, (envelope, route, *rest) = letter
    return link, peer, [envelope, pack_reply(unpack_route(route), code), *rest]


def _misbehave(mode: str, mailbox: Path) -> None:
    started = mailbox.with_suffix(".sock.starting")
    if mode == "refuse":
        raise StartRefused("the directory is in use by pid 4711")
    if mode == "fail":
        raise RuntimeError("a bug in the start")
    if mode == "disk":
        raise OSError(5, "Input/output error")
    if mode == "modules":
        raise StartRefused(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
    if mode == "once" and started.exists():
        raise StartRefused("refused the second time")
    if mode in ("once", "slow"):
        started.touch()
    while mode == "slow":
        time.sleep(0.01)


def build(config: EchoConfig, name: str) -> Shell:
    _misbehave(config.mode, Path(config.mailbox.removeprefix("ipc://")))
    sockets = SocketPlan(mailbox=config.mailbox)
    return Shell(EchoCore(config.mode), SystemClock(), sockets=sockets, name=name)


if __name__ == "__main__":
    run_actor(EchoConfig, build)
