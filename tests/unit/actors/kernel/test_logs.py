"""Log lines: readable on a terminal, JSON elsewhere, never a payload."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from shardmq.actors.kernel import logs
from shardmq.actors.kernel.logs import JsonFormatter, TextFormatter, fields


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    logger = logging.getLogger("shardmq")
    before = (logger.handlers[:], logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def record(text: str, /, **particulars: object) -> logging.LogRecord:
    made = logging.LogRecord("shardmq.x", logging.WARNING, "x.py", 1, text, (), None)
    made.created = 1_700_000_000.25
    made.__dict__.update(fields(**particulars))
    return made


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_one_json_object_a_line() -> None:
    stream = io.StringIO()
    logs.set_up("shard-0", stream=stream)
    log = logging.getLogger("shardmq.shard")
    log.info("segment sealed", extra=fields(lsn=712, queue="a b"))
    log.debug("not at this level")
    (line,) = stream.getvalue().splitlines()
    said = json.loads(line)
    assert said["actor"] == "shard-0"
    assert (said["level"], said["text"], said["lsn"]) == ("info", "segment sealed", 712)
    assert said["time"].endswith("Z")


def test_a_terminal_gets_text_with_colours() -> None:
    stream = Terminal()
    logs.set_up("shard-0", level="debug", stream=stream)
    logging.getLogger("shardmq.shard").debug("hello", extra=fields(a=1))
    line = stream.getvalue()
    assert "\x1b[2mdebug" in line
    assert line.rstrip().endswith("shard-0  hello  a=1")


def test_the_form_can_be_chosen_against_the_stream() -> None:
    stream = io.StringIO()
    logs.set_up("router", form="text", stream=stream)
    logging.getLogger("shardmq").warning("plain")
    assert "warning   router  plain" in stream.getvalue()


def test_fields_do_not_clash_with_the_record_or_the_line() -> None:
    line = JsonFormatter("me").format(record("text stays", name="n", text="lost", args=3))
    said = json.loads(line)
    assert said["text"] == "text stays"
    assert said["name"] == "n"
    assert said["args"] == 3


@pytest.mark.parametrize("formatter", [JsonFormatter("a"), TextFormatter("a")])
def test_a_payload_is_shown_by_its_length_only(formatter: logging.Formatter) -> None:
    line = formatter.format(record("batch", frame=b"secret body", view=memoryview(b"secret")))
    assert "secret" not in line
    assert "<11 bytes>" in line


def test_text_cannot_break_the_line_or_drive_the_terminal() -> None:
    line = TextFormatter("a").format(record("evil\n\x1b[2J", client="x\r\ny z"))
    assert "\n" not in line
    assert "\x1b" not in line
    assert 'client="x\\r\\ny z"' in line


@pytest.mark.parametrize("formatter", [JsonFormatter("a"), TextFormatter("a")])
def test_an_exception_brings_its_traceback(formatter: logging.Formatter) -> None:
    made = record("broke")
    try:
        raise ValueError("why")
    except ValueError:
        made.exc_info = sys.exc_info()
    assert "ValueError: why" in formatter.format(made)
