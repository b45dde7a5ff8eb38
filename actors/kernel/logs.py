"""Logs: one line an event, for people on a terminal, for machines everywhere else.

Owns: the two forms and the set-up of a process. Must not know what is logged. Every module logs
through the standard library, `logging.getLogger("shardmq.shard")`, with a constant sentence and the
particulars as `extra=fields(queue=3, lsn=712)`, so nothing is formatted unless it is written.

    12:04:31.207  info   shard-0  segment sealed  lsn=712 bytes=67108864
    {"time":"2025-01-31T12:04:31.207Z","level":"info","actor":"shard-0","text":"segment sealed",...}

No payload can get in: bytes are shown by their length. Characters that would break the line or
drive a terminal are escaped.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

__all__ = ["LogForm", "LogLevel", "JsonFormatter", "TextFormatter", "fields", "set_up"]

LogLevel = Literal["debug", "info", "warning", "error"]
LogForm = Literal["auto", "text", "json"]

_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "1;31"}


def fields(**particulars: Any) -> dict[str, dict[str, Any]]:
    """`extra` of a log call: named particulars, which cannot clash with the record's own."""
    return {"fields": particulars}


def set_up(
    actor: str,
    *,
    level: LogLevel = "info",
    form: LogForm = "auto",
    stream: TextIO | None = None,
) -> None:
    """Sends the `shardmq` loggers of this process to `stream` (stderr unless given).

    Called once by a process that is ours; a program that embeds a broker keeps its own logging.
    """
    stream = stream or sys.stderr
    is_terminal = stream.isatty()
    formatter: logging.Formatter
    if form == "json" or (form == "auto" and not is_terminal):
        formatter = JsonFormatter(actor)
    else:
        formatter = TextFormatter(actor, colours=is_terminal)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.getLogger("shardmq")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


class TextFormatter(logging.Formatter):
    """For people. Times are local."""

    def __init__(self, actor: str, *, colours: bool = False) -> None:
        super().__init__()
        self._actor = actor
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created)
        level = record.levelname.lower()
        shown = f"{level:<8}"
        if self._colours:
            shown = f"\x1b[{_COLOURS.get(level, '0')}m{shown}\x1b[0m"
        parts = [f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}", shown, self._actor]
        parts.append(_printable(record.getMessage()))
        values = getattr(record, "fields", {})
        if values:
            parts.append(" ".join(f"{name}={_word(value)}" for name, value in values.items()))
        line = "  ".join(parts)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """For machines: one JSON object a line, times in UTC."""

    def __init__(self, actor: str) -> None:
        super().__init__()
        self._actor = actor

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z",
            "level": record.levelname.lower(),
            "actor": self._actor,
            "logger": record.name,
            "text": record.getMessage(),
        }
        values = getattr(record, "fields", {})
        line.update({name: value for name, value in values.items() if name not in line})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=_plain)


def _plain(value: object) -> str:
    """What JSON has no form for. Bytes may be a payload: only their length is told."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    return str(value)


def _word(value: object) -> str:
    text = _printable(_plain(value))
    return f'"{text}"' if " " in text else text


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
