"""Wire: the DEALER socket of one connection, and the clock beside it. The only place of the client
that touches ZeroMQ. Owns socket options; knows frames only as lists of bytes.

Nothing is sent before the monitor said that a peer is there, so nothing queues up for one that is
not. That is our rule and not libzmq's IMMEDIATE, which throws away at a disconnect what arrived and
was not read yet, such as a broker's last answers. No routing id: a taken one would be black-holed.
Reconnects are libzmq's (100 ms to 2 s); the monitor tells about them, so that HELLO goes out at
once.
"""

from __future__ import annotations

import os
import re
import struct
from typing import Any

import zmq
from zmq.backend import Socket as RawSocket

from shardmq.actors.kernel.clock import SystemClock
from shardmq.actors.kernel.memory import keep_freed_memory
from shardmq.actors.protocol.limits import FRAME_BYTES_MAX

from ..errors import InvalidArgument

__all__ = ["DEFAULT_URL", "Wire", "checked_url", "now"]

DEFAULT_URL = "tcp://127.0.0.1:5680"
"""Used where neither an argument nor SHARDMQ_URL names a broker."""
RECONNECT_MS = 100
RECONNECT_MS_MAX = 2_000
LINGER_MS = 500
"""At close: how long libzmq may go on writing what it took."""

_TCP = re.compile(r"tcp://[^\s:/]+(:[^\s:/]+)*:\d{1,5}|tcp://\[[0-9a-fA-F:.%]+\]:\d{1,5}")
_EVENT = struct.Struct("=hi")
# Plain numbers: on zmq's enums every `|` and `&` costs a microsecond or two.
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_NOBLOCK = int(zmq.NOBLOCK)
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_UP: int = zmq.Event.HANDSHAKE_SUCCEEDED
_DOWN: int = zmq.Event.DISCONNECTED

now = SystemClock().now
"""Both clocks."""


def checked_url(url: str | None) -> str:
    """The broker's address: the argument, else SHARDMQ_URL, else the default.

    Raises:
        InvalidArgument: no address that ZeroMQ could connect to.
    """
    url = str(url or os.environ.get("SHARDMQ_URL") or DEFAULT_URL)
    if not (_TCP.fullmatch(url) or url.startswith("ipc://")):
        raise InvalidArgument(
            f"a broker's address looks like {DEFAULT_URL}, unlike {url!r:.80}",
            hint="give tcp://host:port, or set SHARDMQ_URL",
        )
    return url


class Wire:
    """One connected socket. Not thread-safe: its driver serialises."""

    def __init__(self, url: str) -> None:
        keep_freed_memory()
        self._context = zmq.Context()
        self._socket = zmq.Socket(self._context, zmq.DEALER)
        for option, value in (
            (zmq.LINGER, LINGER_MS),
            (zmq.RECONNECT_IVL, RECONNECT_MS),
            (zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX),
            (zmq.MAXMSGSIZE, FRAME_BYTES_MAX),
            (zmq.TCP_KEEPALIVE, 1),
            (zmq.TCP_KEEPALIVE_IDLE, 30),
            (zmq.TCP_KEEPALIVE_INTVL, 5),
            (zmq.TCP_KEEPALIVE_CNT, 3),
        ):
            self._socket.setsockopt(option, value)
        self._monitor = self._socket.get_monitor_socket(_UP | _DOWN)
        self._socket.connect(url)
        self._up = False
        # The wrapper's `send` costs three times as much as the socket's own.
        self._send: Any = RawSocket.send.__get__(self._socket)
        self._recv: Any = self._socket.recv
        self._get: Any = self._socket.getsockopt
        self._get_news: Any = self._monitor.getsockopt
        self.fd = int(self._get(zmq.FD))
        """Readable when there may be something to `receive`, which must have returned None since
        the last `send` before anybody waits for it."""
        self.news_fd = int(self._get_news(zmq.FD))
        """Readable when there may be `news`."""

    def news(self) -> list[bool]:
        """What happened to the connection, in order: True for up, False for down."""
        changes = []
        while self._get_news(_EVENTS) & _POLLIN:
            event, _ = _EVENT.unpack(self._monitor.recv_multipart(_NOBLOCK)[0])
            self._up = event == _UP
            changes.append(self._up)
        return changes

    def receive(self) -> list[bytes] | None:
        """The next message, None if there is none now."""
        if not self._get(_EVENTS) & _POLLIN:
            return None
        recv = self._recv
        frame = recv(_NOBLOCK, False)
        frames = [frame.bytes]
        while frame.more:  # asking the socket (RCVMORE) costs as much as receiving
            frame = recv(_NOBLOCK, False)
            frames.append(frame.bytes)
        return frames

    def send(self, frames: list[bytes]) -> bool:
        """False if nobody is there or libzmq takes nothing now; `fds` will tell when it may. Only
        the first frame can be refused: the others follow it into the same pipe."""
        if not self._up:
            return False
        send = self._send
        try:
            for frame in frames[:-1]:
                send(frame, _MORE)
            send(frames[-1], _NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Waits at most `LINGER_MS` for what libzmq still holds."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close()
        self._context.term()
