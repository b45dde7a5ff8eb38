"""The listen address: which ones are allowed, and the sockets behind one.

Owns the rule that only this machine may reach a broker, for as long as it has no access control.
How a port is bound, shared by routers and kept while one of them restarts is in
`actors.kernel.listening`.
"""

from __future__ import annotations

import errno
import ipaddress

from shardmq.actors.kernel import listening

from .errors import AddressInUse, AddressInvalid, ListenError, NotLoopback

__all__ = ["DEFAULT_LISTEN", "check_address", "open_listeners"]

DEFAULT_LISTEN = "tcp://127.0.0.1:5680"


def check_address(address: str) -> None:
    """Whether a broker may listen on `address`, `tcp://host:port`; port 0 takes a free one.

    Raises:
        AddressInvalid: it is malformed.
        NotLoopback: other machines could reach it.
    """
    rest = address.removeprefix("tcp://")
    host, _, port = rest.rpartition(":")
    if rest == address or not host or not port.isdecimal() or int(port) > 65_535:
        text = f"{address!r} is no address to listen on"
        raise AddressInvalid(text, f"write tcp://host:port, as in {DEFAULT_LISTEN}")
    if not _is_loopback(host):
        text = f"{address} can be reached from other machines, and there is no access control yet"
        hint = f"listen on tcp://127.0.0.1:{port} and let others come through a tunnel"
        raise NotLoopback(text, f"{hint} (ssh -L {port}:127.0.0.1:{port} this-machine)")


def open_listeners(address: str, routers: int) -> listening.Listeners:
    """Listening sockets on `address`, one for each router.

    Raises:
        ListenError: as `check_address`, or the port is in use or cannot be had.
    """
    check_address(address)
    try:
        return listening.listen(address, routers)
    except listening.ListenError as error:
        cause = error.__context__
        if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
            text = f"{address}: something listens on this port already, perhaps another broker"
            raise AddressInUse(
                text, "stop it, or choose another port; port 0 takes a free one"
            ) from None
        if isinstance(cause, OSError):
            raise ListenError(str(error)) from None
        raise AddressInvalid(str(error)) from None


def _is_loopback(host: str) -> bool:
    """By its text only: a name could mean something else tomorrow."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False
