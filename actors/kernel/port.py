"""Port: one socket that letters travel through, as the exchange sees it.

Owns whether letters can leave. When to look at it, and who is told, is `exchange.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq
from zmq.backend import Socket as RawSocket

from .mailbox import Inbox

__all__ = ["Port"]


def _nobody_there(_frame: object, _flags: int) -> None:
    raise zmq.Again


class Port:
    """One socket that letters travel through."""

    __slots__ = ("_send", "choked", "connected", "events", "inbox", "monitor", "name", "send")

    def __init__(self, name: str, socket: zmq.Socket[bytes], inbox: Inbox) -> None:
        self.name = name
        self.inbox = inbox
        self.monitor: zmq.Socket[bytes] | None = None
        # The wrapper's `send` costs three times as much as the socket's own.
        self._send: Callable[..., Any] = RawSocket.send.__get__(socket)
        self.send = self._send
        self.events: Callable[[int], Any] = socket.get
        self.connected = False
        self.choked = False

    def turns(self, connected: bool) -> None:
        """News of a link's connection."""
        self.connected = connected
        self.choked = False
        self.send = self._send if connected else _nobody_there

    @property
    def up(self) -> bool:
        """What the core was told: a link is up while it is connected and takes letters."""
        return self.connected and not self.choked
