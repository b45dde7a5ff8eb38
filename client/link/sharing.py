"""One connection for each address in a process, shared by count; what happens at exit and at fork.

At exit what was sent but not acknowledged yet is drained, within the bound below: a program that
forgets `close()` loses nothing. In a forked child the parent's connections are marked and left
alone; the child may make new ones.
"""

from __future__ import annotations

import atexit
import os
import threading
from importlib.metadata import PackageNotFoundError, version

from shardmq.actors.kernel.randomness import SystemRandomness

from .core import ClientCore
from .thread import Connection
from .wire import checked_url

__all__ = ["acquire", "new_core", "release"]

EXIT_DRAIN_MS = 5_000.0

_lock = threading.Lock()
_open: dict[str, tuple[Connection, int]] = {}
_inherited: list[Connection] = []
"""Kept for ever: a collected context would try to end threads that are not in this process."""


def acquire(url: str | None) -> Connection:
    """The connection to `url`, made if there is none.

    Raises:
        InvalidArgument: not an address.
    """
    url = checked_url(url)
    with _lock:
        connection, users = _open.get(url) or (None, 0)
        if connection is None:
            connection = Connection(url, new_core("shardmq-python"))
        _open[url] = (connection, users + 1)
        return connection


def release(connection: Connection) -> None:
    """Gives a connection back; the last user closes it."""
    with _lock:
        held, users = _open.get(connection.url) or (None, 0)
        if held is not connection:
            return
        if users > 1:
            _open[connection.url] = (connection, users - 1)
            return
        del _open[connection.url]
    connection.close()


def new_core(client: str) -> ClientCore:
    """A core with the operating system's randomness."""
    try:
        release_name = version("shardmq")
    except PackageNotFoundError:
        release_name = ""
    return ClientCore(SystemRandomness(), client=client, version=release_name)


def _at_exit() -> None:
    with _lock:
        left = [connection for connection, _ in _open.values()]
        _open.clear()
    for connection in left:
        connection.drain(EXIT_DRAIN_MS)
        connection.close()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for connection, _ in _open.values():
        connection.forked()
        _inherited.append(connection)
    _open.clear()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
