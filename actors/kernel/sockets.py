"""Sockets: which ones an actor has, and every option they are opened with.

Owns: the option tables. Must not know what travels, nor when: reading is `mailbox.py`, the rest of
the traffic `exchange.py`.

Three kinds, all stable ZeroMQ types:

    mailbox   ROUTER, bound on ipc inside the broker's run directory; only our own processes connect
    link      DEALER, connected to another actor's mailbox; its monitor tells up from down
    front     ROUTER on tcp, the only one that the network sees, on a listening descriptor that the
              parent made (`listening.py`), so that a restarted router keeps its port

Settings that were tried, with what happened without them:

* ROUTER_MANDATORY and NOBLOCK: by default 1,975 of 2,000 sends to a slow peer vanished silently.
* A front HWM of 64: it counts messages, not bytes, and one stalled peer took 1,000 x 64 KiB. Links
  between our processes are bounded by the router's admission in bytes; their HWM is a backstop.
* No IMMEDIATE: with it, libzmq 4.3.5 throws away at a disconnect what arrived and was not read yet
  (50 of 50 last answers of a peer that answered and closed). What it is for, that nothing queues up
  for a process that is not there, `exchange.py` sees to.
* Never change an HWM after bind or connect: libzmq 4.3.5 can crash (fixed upstream, unreleased).
* No buffer sizes here: libzmq does not apply SNDBUF/RCVBUF to ipc, and on tcp an explicit size
  switches the kernel's own tuning off.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

import zmq

from ..protocol.limits import FRAME_BYTES_MAX

__all__ = [
    "FRONT",
    "MAILBOX",
    "Front",
    "SocketPlan",
    "descriptor_of",
    "monitor_events",
    "open_front",
    "open_link",
    "open_mailbox",
]

MAILBOX = "mailbox"
FRONT = "front"

INTERNAL_MESSAGES_MAX = 65_536
FRONT_MESSAGES_MAX = 64
RECONNECT_MS = 20
"""A restarted process is found within twice this time; a connect that fails costs 20 us."""
IPC_PATH_BYTES_MAX = 107
"""Length of a Unix socket's path, given by the kernel."""

_Options = dict[zmq.SocketOption, int]

_EVERY_SOCKET: _Options = {
    zmq.LINGER: 0,
    zmq.MAXMSGSIZE: FRAME_BYTES_MAX,
}
_INTERNAL: _Options = {
    zmq.SNDHWM: INTERNAL_MESSAGES_MAX,
    zmq.RCVHWM: INTERNAL_MESSAGES_MAX,
    # A stopped process keeps its sockets open: only silence shows it.
    zmq.HEARTBEAT_IVL: 2_000,
    zmq.HEARTBEAT_TIMEOUT: 6_000,
    zmq.HEARTBEAT_TTL: 6_000,
}
_ROUTER: _Options = {
    zmq.ROUTER_MANDATORY: 1,
    zmq.ROUTER_HANDOVER: 0,
}
_LINK: _Options = {
    zmq.IMMEDIATE: 0,
    zmq.RECONNECT_IVL: RECONNECT_MS,
}
_FRONT: _Options = {
    zmq.SNDHWM: FRONT_MESSAGES_MAX,
    zmq.RCVHWM: FRONT_MESSAGES_MAX,
    zmq.HANDSHAKE_IVL: 3_000,
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 30,
    zmq.TCP_KEEPALIVE_INTVL: 5,
    zmq.TCP_KEEPALIVE_CNT: 3,
    zmq.TCP_MAXRT: 10_000,
}
_MONITOR_EVENT = struct.Struct("=hi")
LINK_EVENTS = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
FRONT_MONITOR = "inproc://front-monitor"
FRONT_EVENTS = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED


class Front(NamedTuple):
    """The listening socket that the network sees."""

    address: str
    """`tcp://host:port` that `listen_fd` is bound to."""
    listen_fd: int
    """Inherited; libzmq owns it from now on and closes it."""


class SocketPlan(NamedTuple):
    """Which sockets an actor has."""

    mailbox: str | None = None
    """ipc address to bind."""
    links: Mapping[str, str] = {}
    """Name of the link -> ipc address of the other actor's mailbox."""
    front: Front | None = None
    opaque_bytes_min: int | None = None
    """Payload frames at least this long stay `zmq.Frame` and are forwarded without a copy; None:
    all frames become bytes, which checksums and files need."""


def open_mailbox(context: zmq.Context[zmq.Socket[bytes]], address: str) -> zmq.Socket[bytes]:
    """A ROUTER bound on `address`; a socket file left behind by a killed process is replaced.

    Raises:
        ValueError: the path is too long for a Unix socket.
        zmq.ZMQError: the directory is missing or not ours.
    """
    path_bytes = len(address.removeprefix("ipc://").encode())
    if path_bytes > IPC_PATH_BYTES_MAX:
        over = path_bytes - IPC_PATH_BYTES_MAX
        raise ValueError(
            f"the socket path {address} is {over} bytes over {IPC_PATH_BYTES_MAX};"
            " set TMPDIR or XDG_RUNTIME_DIR to a shorter directory"
        )
    mailbox = _opened(context, zmq.ROUTER, _INTERNAL, _ROUTER)
    mailbox.bind(address)
    return mailbox


def open_link(
    context: zmq.Context[zmq.Socket[bytes]], address: str
) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """A DEALER that connects to `address` for as long as it lives, and its monitor."""
    link = _opened(context, zmq.DEALER, _INTERNAL, _LINK)
    monitor = link.get_monitor_socket(LINK_EVENTS)
    link.connect(address)
    return link, monitor


def open_front(
    context: zmq.Context[zmq.Socket[bytes]], front: Front
) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """A ROUTER on the listening descriptor of `front`, and the monitor of its connections."""
    router = _opened(context, zmq.ROUTER, _FRONT, _ROUTER)
    # The I/O thread waits for room in a monitor's pipe, and everything with it; this one has room.
    router.monitor(FRONT_MONITOR, FRONT_EVENTS)
    monitor = context.socket(zmq.PAIR)
    monitor.setsockopt(zmq.RCVHWM, 0)
    monitor.setsockopt(zmq.LINGER, 0)
    monitor.connect(FRONT_MONITOR)
    router.setsockopt(zmq.USE_FD, front.listen_fd)
    router.bind(front.address)
    return router, monitor


def descriptor_of(socket: zmq.Socket[bytes]) -> int:
    """The descriptor that is readable when the socket has something to look at."""
    fd = socket.getsockopt(zmq.FD)
    assert isinstance(fd, int)
    return fd


def monitor_events(monitor: zmq.Socket[bytes] | None) -> list[tuple[int, int]]:
    """(event, value) of all that is there."""
    events: list[tuple[int, int]] = []
    while monitor is not None:
        try:
            event, _address = monitor.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            break
        events.append(_MONITOR_EVENT.unpack(event))
    return events


def _opened(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, *tables: _Options
) -> zmq.Socket[bytes]:
    opened = context.socket(kind)
    for table in (_EVERY_SOCKET, *tables):
        for option, value in table.items():
            opened.setsockopt(option, value)
    return opened
