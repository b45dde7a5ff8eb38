"""Inboxes: letters out of one socket, a bounded drain at a time.

Owns: how many messages and bytes one turn takes, how a multipart message becomes a letter, and what
is answered to a message that is too large (the overflow answer). Must not know what a verb means,
except that the first three belong to the shell.

What waits beyond a drain waits in the socket, bounded by its HWM and, in bytes, by the routers'
admission; a peer that runs into the HWM sees its link as down (`exchange.py`).

Cost decides the form of the loops: of one small request, `recv` as bytes costs 0.4 us a frame, as
`zmq.Frame` 0.9 us, asking the socket for RCVMORE 1.1 us. Only a `Frame` knows whether more follows.
So frames whose successor is certain are received blindly as bytes: behind the peer of a ROUTER
always comes a frame, and our own processes always send envelope, route and header. Should one of
them not (a bug), the boundary is found again at the end of the next message, because the header is
always asked; what was read across it is dropped and counted, never handled. Nothing from outside is
taken on trust: the front asks every frame.

That a socket is empty is told by an exception, which costs 4 us, as much as a request. So after a
drain that found one message or none, the next one takes one and ends; the exchange asks the socket
anyway before it sleeps (1.7 us), and lets the drain be a whole one again when there is more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq

from ..protocol.codec import encode_header
from ..protocol.codes import Code
from ..protocol.codes import row_of as code_row
from ..protocol.frames import FrameError, pack_reply, unpack_route
from ..protocol.limits import HEADER_BYTES_MAX, KIB, MIB, REQUEST_QUEUES_MAX, SESSION_BYTES_MAX
from ..protocol.messages import ErrorReply
from ..protocol.verbs import Verb
from .connections import Connections
from .ports import Letter

__all__ = ["TURN_BYTES_MAX", "TURN_MESSAGES_MAX", "Inbox"]

TURN_MESSAGES_MAX = 256
"""Messages that one drain takes: enough to amortise a turn, few enough to answer PING in time."""
TURN_BYTES_MAX = 8 * MIB
"""Bytes after which a drain ends (the message that crosses it is still taken)."""
LETTER_FRAMES_MAX = REQUEST_QUEUES_MAX + 8
LETTER_BYTES_MAX = SESSION_BYTES_MAX + HEADER_BYTES_MAX + 64 * KIB
"""One message may not be larger than what a session may have in flight."""
SHELL_VERBS = (Verb.PING, Verb.STATS)
_SHELL_VERB_MAX = max(SHELL_VERBS)
_SHELL_VERB_MIN = min(SHELL_VERBS)

_NOBLOCK = int(zmq.NOBLOCK)


def _source_of(frame: zmq.Frame) -> int:
    """The descriptor that a frame came through; -1 if there is none (inproc)."""
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1


class Inbox:
    """Reads one socket. `drain` is one of three loops, by the kind of socket."""

    __slots__ = (
        "_link",
        "_opaque_bytes_min",
        "_recv",
        "connections",
        "drain",
        "expects_one",
        "malformed",
        "refusals",
        "taken",
        "taken_bytes",
    )

    def __init__(
        self, socket: zmq.Socket[bytes], link: str, kind: str, opaque_bytes_min: int | None = None
    ) -> None:
        """`kind` is "mailbox", "link" or "front"; `link` is the name that letters carry."""
        self._recv: Callable[..., Any] = socket.recv
        self._link = link
        self._opaque_bytes_min = opaque_bytes_min
        self.connections = Connections()
        """Who speaks through which descriptor; only a front fills it."""
        self.expects_one = False
        """The next drain ends after one message; its owner clears this when more are there."""
        self.taken = 0
        self.taken_bytes = 0
        self.malformed = 0
        self.refusals: list[Letter] = []
        """Overflow answers, to be sent and cleared by the owner."""
        loops = {"mailbox": self._drain_mailbox, "link": self._drain_link}
        self.drain: Callable[[list[Letter], list[Letter]], bool] = loops.get(
            kind, self._drain_front
        )
        """`drain(letters, calls)` appends what arrived: `calls` gets PING and STATS of a mailbox,
        `letters` all else. True if nothing is left, False if the bound ended it."""

    def _drain_mailbox(self, letters: list[Letter], calls: list[Letter]) -> bool:
        recv = self._recv
        link = self._link
        put = letters.append
        had = len(letters) + len(calls)
        count = size = lost = 0
        count_max = 1 if self.expects_one else TURN_MESSAGES_MAX
        emptied = False
        try:
            while count < count_max and size < TURN_BYTES_MAX:
                peer = recv(_NOBLOCK)
                count += 1
                envelope = recv(_NOBLOCK)
                route = recv(_NOBLOCK)
                frame = recv(_NOBLOCK, False)
                header = frame.bytes
                frames: list[Any] = [envelope, route, header]
                size += len(header)
                if frame.more:
                    payload_bytes = self._payload(frames)
                    if payload_bytes < 0:
                        self._refuse(peer, [envelope], route)
                        size += ~payload_bytes
                        lost += 1
                        continue
                    size += payload_bytes
                if len(route) != 24:
                    lost += 1
                    self.malformed += 1
                elif _SHELL_VERB_MIN <= route[4] <= _SHELL_VERB_MAX and not route[5]:
                    calls.append((link, peer, frames))
                else:
                    put((link, peer, frames))
        except zmq.Again:
            emptied = True
        done = len(letters) + len(calls) - had + lost
        self.malformed += count - done
        self.expects_one = count < 2
        self.taken += count
        self.taken_bytes += size
        return emptied

    def _drain_link(self, letters: list[Letter], calls: list[Letter]) -> bool:
        recv = self._recv
        link = self._link
        put = letters.append
        count = size = 0
        count_max = 1 if self.expects_one else TURN_MESSAGES_MAX
        emptied = False
        try:
            while count < count_max and size < TURN_BYTES_MAX:
                envelope = recv(_NOBLOCK)
                count += 1
                route = recv(_NOBLOCK)
                frame = recv(_NOBLOCK, False)
                header = frame.bytes
                frames: list[Any] = [envelope, route, header]
                size += len(header)
                payload_bytes = self._payload(frames) if frame.more else 0
                if payload_bytes < 0 or len(route) != 24:
                    self.malformed += 1
                else:
                    put((link, b"", frames))
                    size += payload_bytes
        except zmq.Again:
            emptied = True
        self.expects_one = count < 2
        self.taken += count
        self.taken_bytes += size
        return emptied

    def _drain_front(self, letters: list[Letter], calls: list[Letter]) -> bool:
        recv = self._recv
        link = self._link
        put = letters.append
        known = self.connections.known
        count = size = 0
        count_max = 1 if self.expects_one else TURN_MESSAGES_MAX
        emptied = False
        try:
            while count < count_max and size < TURN_BYTES_MAX:
                peer = recv(_NOBLOCK)
                count += 1
                frame = recv(_NOBLOCK, False)
                size += len(frame)
                if peer not in known:
                    self.connections.meet(peer, _source_of(frame))
                frames: list[Any] = [frame.bytes]
                if frame.more:
                    frame = recv(_NOBLOCK, False)
                    frames.append(frame.bytes)
                    size += len(frame)
                    if frame.more:
                        payload_bytes = self._payload(frames)
                        if payload_bytes < 0:
                            self._refuse(peer, [], frames[0])
                            size += ~payload_bytes
                            continue
                        size += payload_bytes
                put((link, peer, frames))
        except zmq.Again:
            emptied = True
        self.expects_one = count < 2
        self.taken += count
        self.taken_bytes += size
        return emptied

    def _payload(self, frames: list[Any]) -> int:
        """Appends the frames that are left of a message and returns their bytes. The rest of a
        message over its bound is read and dropped; then the result is `~bytes`, negative."""
        recv = self._recv
        opaque_bytes_min = self._opaque_bytes_min
        size = 0
        room = LETTER_FRAMES_MAX - len(frames)
        more = True
        while more:
            frame = recv(_NOBLOCK, False)
            length = len(frame)
            size += length
            room -= 1
            if size > LETTER_BYTES_MAX or room < 0:
                room = -1
            elif opaque_bytes_min is not None and length >= opaque_bytes_min:
                frames.append(frame)
            else:
                frames.append(frame.bytes)
            more = frame.more
        return size if room >= 0 else ~size

    def _refuse(self, peer: bytes, envelope: list[Any], route: bytes) -> None:
        """The overflow answer, if the request can be answered at all."""
        try:
            request = unpack_route(route)
        except FrameError:
            self.malformed += 1
            return
        row = code_row(Code.TOO_LARGE)
        text = f"a message has at most {LETTER_FRAMES_MAX} frames and {LETTER_BYTES_MAX} bytes"
        reply = ErrorReply(name=row.code.name, message=text, hint=row.hint, retryable=False)
        header = encode_header(reply, request.flags)
        frames = [*envelope, pack_reply(request, Code.TOO_LARGE), header]
        self.refusals.append((self._link, peer, frames))
