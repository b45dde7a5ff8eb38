"""The process of the coordinator: `python -m shardmq.router.coordinator_process`.

Owns which parts a coordinator is made of: its core knows a journal only as a port, and here it gets
the one that shards use. Must not know what any of them does.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.coordinator.coordinator import Coordinator
from shardmq.actors.coordinator.decisions import Policy
from shardmq.actors.coordinator.groups import Groups
from shardmq.actors.kernel.clock import SystemClock
from shardmq.actors.kernel.logs import fields
from shardmq.actors.kernel.process import StartRefused, run_actor
from shardmq.actors.kernel.shell import Shell
from shardmq.actors.kernel.sockets import SocketPlan
from shardmq.shards.log.errors import FatalLogError, LogError
from shardmq.shards.log.journal import Journal
from shardmq.shards.log.options import JournalOptions
from shardmq.shards.log.realio import RealLogIO

__all__ = ["CoordinatorConfig", "build"]

_MIB = 1024 * 1024
# Topics and groups are small, and what lies below a whole series of snapshots is not needed again.
JOURNAL = {"segment_bytes": 16 * _MIB, "retention_bytes": 64 * _MIB}

log = logging.getLogger("shardmq.coordinator")


class CoordinatorConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the parent writes to stdin."""

    mailbox: str
    """ipc address to bind."""
    directory: str
    """Of the coordinator's journal."""
    links: dict[str, str]
    """Name of each shard's link -> ipc address of its mailbox."""
    shards: int
    auto_create: bool = False
    retention_ms: int = 0
    """How long shards keep messages; 0: for ever."""
    journal: dict[str, Any] = {}
    """Options of the journal that are not to be as usual, by name."""


def build(config: CoordinatorConfig, name: str) -> Shell:
    """The coordinator, recovered, bound and connecting, ready to run.

    Raises:
        StartRefused: the directory is in use or not ours.
        OSError: the disk failed.
    """
    clock = SystemClock()
    catalogue, groups = Catalogue(), Groups()
    try:
        options = msgspec.convert(
            {"directory": config.directory, "owner": name, **JOURNAL, **config.journal},
            JournalOptions,
        )
        journal = Journal.open(RealLogIO(), options, [catalogue, groups], clock.now())
    except FatalLogError:
        raise
    except (LogError, ValueError) as error:
        raise StartRefused(str(error)) from error
    _tell(journal, catalogue, groups)
    policy = Policy(
        shards=config.shards, auto_create=config.auto_create, retention_ms=config.retention_ms
    )
    core = Coordinator(journal, catalogue, groups, policy)
    plan = SocketPlan(mailbox=config.mailbox, links=config.links)
    return Shell(core, clock, sockets=plan, journal=journal, name=name)


def _tell(journal: Journal, catalogue: Catalogue, groups: Groups) -> None:
    """What recovery found goes to the log, loudly where something is lost."""
    report = journal.report
    known = fields(epoch=report.epoch, end=report.end, topics=len(catalogue), groups=len(groups))
    log.info("journal recovered", extra=known)
    for note in report.notes:
        log.info("journal: %s", note)
    for loss in (*report.lost, *report.set_aside):
        log.error("journal: %s", loss)
    if report.read_only:
        log.error("the coordinator is read-only until its damage is accepted")


if __name__ == "__main__":
    run_actor(CoordinatorConfig, build)
