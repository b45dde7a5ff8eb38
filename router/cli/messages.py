"""Received messages as text: the formats of `consume`.

Owns: text, json, jsonl, raw and template. Must not know where messages come from: anything with the
attributes of a received message will do.

All that a producer chose (body, tag, keys, ordering key, properties) is anybody's text: text and
templates escape it, so that no message drives a terminal or passes for a line of its own. Only raw
and the two JSON forms, which are for programs, give it as it is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Protocol

from ..quantities import time_text
from .errors import EXIT_USAGE, CliError
from .output import json_text, printable

__all__ = [
    "FORMATS", "FORMAT_HELP", "Received", "as_record", "body_text", "formatter", "moment_text",
]  # fmt: skip


class Received(Protocol):
    """What is read of a received message."""

    @property
    def topic(self) -> str: ...
    @property
    def queue_id(self) -> int | None: ...
    @property
    def offset(self) -> int | None: ...
    @property
    def message_id(self) -> str | None: ...
    @property
    def tag(self) -> str | None: ...
    @property
    def keys(self) -> Any: ...
    @property
    def ordering_key(self) -> str | None: ...
    @property
    def properties(self) -> Any: ...
    @property
    def body(self) -> bytes: ...
    @property
    def born_at(self) -> Any: ...
    @property
    def stored_at(self) -> Any: ...


FORMATS = ("text", "json", "jsonl", "raw")
FORMAT_HELP = (
    "text: one line with queue, offset, time, tag and body; json: one array, with --follow as"
    " jsonl; jsonl: one object a line; raw: bodies as they are, each followed by a newline;"
    " anything with {braces} is a template of {topic} {queue_id} {offset}"
    " {message_id} {tag} {keys} {ordering_key} {properties} {body} {born_at} {stored_at}."
)

_FIELDS = (
    "topic", "queue_id", "offset", "message_id", "tag", "keys", "ordering_key", "properties",
    "body", "born_at", "stored_at",
)  # fmt: skip
_BODY_CHARACTERS_MAX = 2_000


def formatter(name: str) -> Callable[[Received], bytes]:
    """The function that turns a message into the bytes to print, without the newline.

    Raises:
        CliError: neither a known format nor a template.
    """
    if name == "text":
        return _text
    if name in ("json", "jsonl"):
        return lambda message: json_text(as_record(message)).encode()
    if name == "raw":
        return lambda message: message.body
    if "{" not in name:
        hint = f"formats are {', '.join(FORMATS)}, or a template such as '{{offset}} {{body}}'"
        raise CliError("USAGE", f"there is no format {name!r}", hint, status=EXIT_USAGE)
    return _template(name)


def as_record(message: Received) -> dict[str, Any]:
    """A message as a JSON-able map; a body that is no UTF-8 stands in `body_base64`."""
    record: dict[str, Any] = {
        "topic": message.topic,
        "queue_id": message.queue_id,
        "offset": message.offset,
        "message_id": message.message_id,
        "tag": message.tag,
        "keys": list(message.keys or ()),
        "ordering_key": message.ordering_key,
        "properties": dict(message.properties or {}),
        "born_at": moment_text(message.born_at),
        "stored_at": moment_text(message.stored_at),
    }
    try:
        record["body"] = message.body.decode()
    except UnicodeDecodeError:
        record["body_base64"] = base64.b64encode(message.body).decode()
    return record


def moment_text(value: Any) -> str | None:
    """A stamp as ISO 8601: from a datetime, or from seconds since the epoch."""
    if value is None:
        return None
    seconds = value.timestamp() if hasattr(value, "timestamp") else float(value)
    return time_text(round(seconds * 1000))


def body_text(message: Received) -> str:
    """The body as one readable line: control characters escaped, bytes that are no text as hex."""
    try:
        text = message.body.decode()
    except UnicodeDecodeError:
        text = message.body.hex()
    text = printable(text)
    if len(text) > _BODY_CHARACTERS_MAX:
        over = len(text) - _BODY_CHARACTERS_MAX
        return f"{text[:_BODY_CHARACTERS_MAX]}... ({over} more; --format raw prints all)"
    return text


def _text(message: Received) -> bytes:
    extras = [f"[{message.tag}]" if message.tag else ""]
    extras += [f"ordering-key={message.ordering_key}" if message.ordering_key else ""]
    extras += [f"keys={','.join(message.keys)}" if message.keys else ""]
    extras += [f"{name}={value}" for name, value in dict(message.properties or {}).items()]
    place = f"{message.queue_id}/{message.offset}"
    shown = printable(" ".join(filter(None, extras)))
    stamp = moment_text(message.stored_at) or "-"
    return f"{place:<10} {stamp}  {shown + '  ' if shown else ''}{body_text(message)}".encode()


def _template(template: str) -> Callable[[Received], bytes]:
    """A template's formatter, tried out once so that a wrong field is an error at once."""
    readable = template.replace("\\n", "\n").replace("\\t", "\t")
    try:
        readable.format_map(dict.fromkeys(_FIELDS, ""))
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        hint = f"fields are {', '.join(_FIELDS)}; write {{{{ for a brace"
        raise CliError("USAGE", f"template: {reason}", hint, status=EXIT_USAGE) from None

    def render(message: Received) -> bytes:
        values = as_record(message)
        values["body"] = body_text(message)
        values["keys"] = ",".join(values["keys"])
        values["properties"] = _json_line(values["properties"])
        return readable.format_map({field: _shown(values[field]) for field in _FIELDS}).encode()

    return render


def _shown(value: Any) -> Any:
    """A template's field: text escaped, numbers as they are for the sake of `{offset:>8}`."""
    if value is None:
        return ""
    return printable(value) if isinstance(value, str) else value


def _json_line(value: Any) -> str:
    """JSON that stays JSON and yet holds nothing unprintable."""
    text = json_text(value)
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)
