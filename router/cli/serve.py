"""`shardmq serve`: runs a broker until SIGTERM or Ctrl-C, then ends with status 0."""

from __future__ import annotations

import faulthandler
import logging
import os
import resource
import signal
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import rich_click as click

from shardmq.actors.kernel import logs
from shardmq.actors.kernel.clock import SystemClock

from ..config import Settings
from .banner import Summary, summary_text
from .settings import load_settings, settings_options

if TYPE_CHECKING:
    from ..broker import Broker

__all__ = ["command", "raise_descriptor_limit"]

_DESCRIPTORS = 65_536

log = logging.getLogger("shardmq.serve")


@click.command("serve")
@settings_options
def command(config_file: str | None, **flags: Any) -> None:
    """Run a broker here until Ctrl-C or SIGTERM; the exit status then is 0.

    Settings come, in rising order, from defaults, a TOML file, the environment
    (SHARDMQ__SECTION__KEY) and these flags; `shardmq config show` tells which is from where.

    \b
    Examples:
    $ shardmq serve
    $ shardmq serve --data /var/lib/shardmq --shards 4 --retention 7d
    $ shardmq serve --listen 7000 --auto-create
    $ shardmq serve --config prod.toml
    """
    settings = load_settings(config_file, flags).settings
    logs.set_up("serve", level=settings.log.level, form=settings.log.format)
    faulthandler.register(signal.SIGUSR1)  # as in every process of a broker: dump the stacks
    raise_descriptor_limit()
    clock = SystemClock()
    started_ms = clock.now().mono_ms
    broker = _broker(settings)
    with broker:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: broker.request_stop())
        _announce(broker, settings, (clock.now().mono_ms - started_ms) / 1000)
        broker.wait()
    log.info("stopped")


def raise_descriptor_limit() -> int:
    """Raises the soft limit of open files as far as allowed; children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def _broker(settings: Settings) -> Broker:
    from ..broker import Broker

    broker, retention = settings.broker, settings.retention
    return Broker(
        broker.data,
        shards=broker.shards or None,
        routers=broker.routers or None,
        listen=broker.listen,
        auto_create=broker.auto_create,
        retention_ms=retention.age_ms,
        retention_bytes=retention.size_bytes,
        log_level=settings.log.level,
        log_form=settings.log.format,
    )


def _announce(broker: Broker, settings: Settings, start_seconds: float) -> None:
    """The summary for a person at a terminal; one line in the log for everybody else."""
    facts = Summary(
        version=version("shardmq"),
        url=broker.url,
        data=str(broker.data_dir),
        shards=broker.shards,
        routers=broker.routers,
        auto_create=settings.broker.auto_create,
        retention_ms=settings.retention.age_ms,
        retention_bytes=settings.retention.size_bytes,
        start_seconds=start_seconds,
        pid=os.getpid(),
    )
    if sys.stdout.isatty():
        print(summary_text(facts, colours=True), flush=True)
    else:
        log.info("serving", extra=logs.fields(**facts._asdict()))
