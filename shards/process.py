"""The process of a shard: composition root and entry point, `python -m shardmq.shards.process`.

Owns which parts a shard is made of. Must not know what any of them does.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from shardmq.actors.kernel.clock import SystemClock
from shardmq.actors.kernel.logs import fields
from shardmq.actors.kernel.process import StartRefused, run_actor
from shardmq.actors.kernel.randomness import SystemRandomness
from shardmq.actors.kernel.shell import Shell
from shardmq.actors.kernel.sockets import SocketPlan

from .log.errors import FatalLogError, LogError
from .log.journal import Journal
from .log.options import JournalOptions
from .log.realio import RealLogIO
from .producer_room import PRODUCERS_MAX
from .shard import Shard, ShardState

__all__ = ["ShardConfig", "build"]

_log = logging.getLogger("shardmq.shard")


class ShardConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the parent writes to stdin."""

    shard: int
    """Number of the shard, as the coordinator's routes name it."""
    mailbox: str
    """ipc address to bind."""
    directory: str
    """Data directory of this shard."""
    journal: dict[str, Any] = {}
    """Options of the journal that are not to be as in `JournalOptions`, by name."""
    producers_max: int = PRODUCERS_MAX


def build(config: ShardConfig, name: str) -> Shell:
    """A shard, recovered and bound, ready to run.

    Raises:
        StartRefused: the directory is in use or not ours, or an option makes no sense.
        OSError: the disk failed.
    """
    clock = SystemClock()
    state = ShardState()
    try:
        options = msgspec.convert(
            {"directory": config.directory, "owner": name, **config.journal}, JournalOptions
        )
        journal = Journal.open(RealLogIO(), options, state.projections, clock.now())
    except FatalLogError:
        raise
    except (LogError, ValueError) as error:
        raise StartRefused(str(error)) from error
    core = Shard(
        config.shard,
        journal,
        state,
        SystemRandomness(),
        producers_max=config.producers_max,
        journal_figures=lambda: msgspec.to_builtins(journal.stats()),
    )
    _tell(journal)
    return Shell(
        core, clock, sockets=SocketPlan(mailbox=config.mailbox), journal=journal, name=name
    )


def _tell(journal: Journal) -> None:
    """What recovery found goes to the log, loudly where something is lost."""
    report = journal.report
    _log.info(
        "journal recovered",
        extra=fields(
            epoch=report.epoch,
            end=report.end,
            segments=report.segments,
            records_scanned=report.records_scanned,
        ),
    )
    for note in report.notes:
        _log.info("recovery noted", extra=fields(note=note))
    for loss in (*report.lost, *report.set_aside):
        _log.error("recovery found damage", extra=fields(what=str(loss)))
    if report.read_only:
        _log.error("the shard is read-only until its damage is accepted: see shardmq.shards.dump")


if __name__ == "__main__":
    run_actor(ShardConfig, build)
