"""The process of a router: composition root and entry point, `python -m shardmq.router.process`.

Owns which parts a router is made of. Must not know what any of them does.
"""

from __future__ import annotations

import os

import msgspec

from shardmq.actors.kernel.clock import SystemClock
from shardmq.actors.kernel.process import run_actor
from shardmq.actors.kernel.randomness import SystemRandomness
from shardmq.actors.kernel.shell import Shell
from shardmq.actors.kernel.sockets import Front, SocketPlan

from .reception import Identity
from .router import Router

__all__ = ["RouterConfig", "build"]

OPAQUE_BYTES_MIN = 4_096
"""From here on a payload frame is forwarded without a copy; below, a copy is cheaper."""


class RouterConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the parent writes to stdin."""

    mailbox: str
    """ipc address to bind."""
    address: str
    """`tcp://host:port` that `listen_fd` listens on."""
    listen_fd: int
    shards: int
    links: dict[str, str]
    """Name of each link -> ipc address of that actor's mailbox."""
    version: str
    """Of the broker, for WELCOME."""


def build(config: RouterConfig, name: str) -> Shell:
    """A router, bound and connecting, ready to run."""
    core = Router(
        shards=config.shards,
        randomness=SystemRandomness(),
        identity=Identity(name, config.version, os.getpid()),
    )
    plan = SocketPlan(
        mailbox=config.mailbox,
        links=config.links,
        front=Front(config.address, config.listen_fd),
        opaque_bytes_min=OPAQUE_BYTES_MIN,
    )
    shell = Shell(core, SystemClock(), sockets=plan, name=name)
    core.report_loop(shell.figures)
    core.heed(shell.choked)
    return shell


if __name__ == "__main__":
    run_actor(RouterConfig, build)
