"""What `serve` says once it serves: where, with what, and what to do first.

Owns the text. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

from ..quantities import bytes_text, duration_text

__all__ = ["Summary", "summary_text"]

DEFAULT_URL = "tcp://127.0.0.1:5680"


class Summary(NamedTuple):
    """Facts about a broker that has just started."""

    version: str
    url: str
    data: str
    shards: int
    routers: int
    auto_create: bool
    retention_ms: int
    retention_bytes: int
    start_seconds: float
    pid: int


def summary_text(facts: Summary, *, colours: bool) -> str:
    """The summary, with commands that can be copied as they stand."""
    bold, dim, off = ("\x1b[1m", "\x1b[2m", "\x1b[0m") if colours else ("", "", "")
    url_option = "" if facts.url == DEFAULT_URL else f" --url {facts.url}"
    retention = duration_text(facts.retention_ms / 1000) if facts.retention_ms else "for ever"
    if facts.retention_bytes:
        retention += f", at most {bytes_text(facts.retention_bytes)} a shard"
    created = "created when first used" if facts.auto_create else "created by command"
    first = [] if facts.auto_create else [f"shardmq topic create orders{url_option}"]
    commands = [
        *first,
        f"shardmq send orders 'hello'{url_option}",
        f"shardmq consume orders{url_option}",
    ]
    processes = f"{_plural(facts.shards, 'shard')}, {_plural(facts.routers, 'router')}, coordinator"
    took = duration_text(facts.start_seconds)
    lines = [
        f"{bold}ShardMQ {facts.version}{off} started in {took}, process {facts.pid}",
        "",
        f"  listens on   {bold}{facts.url}{off}",
        f"  data         {facts.data}",
        f"  processes    {processes}",
        f"  retention    {retention}",
        f"  topics       {created}",
        "",
        "  In another terminal:",
        "",
        *(f"    {bold}{command}{off}" for command in commands),
        "",
        f"  {dim}Ctrl-C stops it; nothing acknowledged is lost.{off}",
    ]
    return "\n".join(lines)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
