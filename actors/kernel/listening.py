"""Listening descriptors of the front door, made by the parent and handed to the routers.

Owns: binding the port. Must not know ZeroMQ; libzmq takes the descriptor over (`ZMQ_USE_FD`) in the
child.

The parent keeps its copies open, so the port stays ours while a killed router is replaced: clients
that connect meanwhile wait in the kernel's queue instead of being refused. Several routers share
the port by SO_REUSEPORT. That option would also let a second broker of the same user slip in
without an error, so the first socket is bound without it: an occupied port is always an error.
"""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

__all__ = ["Listeners", "ListenError", "listen"]

BACKLOG = 1_024


class ListenError(Exception):
    """The address cannot be listened on; the text says why and what to do."""


class Listeners(NamedTuple):
    """One listening socket for each router, all on one address."""

    address: str
    """`tcp://host:port` with the real port."""
    sockets: list[socket.socket]

    def close(self) -> None:
        """Gives the port up, in this process."""
        for one in self.sockets:
            one.close()


def listen(address: str, count: int = 1) -> Listeners:
    """Listens on `tcp://host:port` (port 0: any free one) with `count` sockets.

    Raises:
        ListenError: malformed address, unknown host, port in use or not permitted.
    """
    host, port = _split(address)
    try:
        family, kind, proto, _, target = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from None
    sockets: list[socket.socket] = []
    try:
        for index in range(count):
            one = socket.socket(family, kind, proto)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if index > 0:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(target)
            target = one.getsockname()
            if index == 0 and count > 1:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for one in sockets:
            one.listen(BACKLOG)
            one.setblocking(False)
    except OSError as error:
        Listeners("", sockets).close()
        raise ListenError(f"cannot listen on {address}: {_why(error)}") from None
    bound_host, bound_port = sockets[0].getsockname()[:2]
    shown = f"[{bound_host}]" if family == socket.AF_INET6 else bound_host
    return Listeners(f"tcp://{shown}:{bound_port}", sockets)


def _split(address: str) -> tuple[str, int]:
    rest = address.removeprefix("tcp://")
    host, colon, port = rest.rpartition(":")
    if rest == address or not colon or not port.isdecimal() or int(port) > 65_535:
        raise ListenError(f"{address!r} is no address; write tcp://host:port, port 0 for any")
    return host.removeprefix("[").removesuffix("]").replace("*", ""), int(port)


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use, perhaps by another broker; choose another one"
    if error.errno == errno.EACCES:
        return "not permitted; ports below 1024 belong to root"
    return error.strerror or str(error)
