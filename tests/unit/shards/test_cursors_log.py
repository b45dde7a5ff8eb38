"""The log of cursors: answers wait for all records about cursors that came before them."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.kernel.ports import Now, Refusal
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import pack_envelope, pack_request, unpack_route
from shardmq.actors.protocol.group_messages import AckReply
from shardmq.actors.protocol.verbs import Verb
from shardmq.shards import cursors_log as module
from shardmq.shards.cursors_log import CursorLog
from shardmq.shards.durability import Durability
from shardmq.shards.requests import Request, read_request
from shardmq.shards.state.records import GroupsForgotten
from support.memory_journal import MemoryJournal

NOW = Now(0.0, 0)


def request() -> Request:
    route = pack_request(Verb.ACK, 1, 1_000)
    return read_request(("mailbox", b"peer", [pack_envelope(1, 1, 0), route, b""]))


def log() -> tuple[CursorLog, Any, Durability]:
    journal: Any = MemoryJournal()
    durability = Durability()
    return CursorLog(journal, durability), journal, durability


def test_an_answer_leaves_at_once_if_nothing_is_on_its_way() -> None:
    cursors, journal, durability = log()
    journal.append_state(b"\x91\x01", NOW)  # somebody else's
    out: list[Any] = []
    cursors.answer(request(), AckReply(), out)
    assert (len(out), durability.held) == (1, 0)


def test_an_answer_waits_for_records_of_others_too() -> None:
    cursors, journal, durability = log()
    cursors.append(GroupsForgotten([1]), 5, NOW)
    assert journal.records[0].queue == 5
    out: list[Any] = []
    cursors.answer(request(), AckReply(), out)
    assert out == []
    journal.sync()
    assert len(durability.advance(journal.durable)[0]) == 1
    cursors.answer(request(), AckReply(), out)
    assert len(out) == 1


@pytest.mark.parametrize(
    ("refusal", "code"),
    [(None, None), (Refusal.DISK_FULL, None), (Refusal.BUSY, 503), (Refusal.READ_ONLY, 509)],
)
def test_what_the_journal_refuses(refusal: Refusal | None, code: int | None) -> None:
    cursors, journal, _ = log()
    journal.refuses = refusal
    letter = cursors.refused(request())
    assert (None if letter is None else unpack_route(letter[2][1]).tail) == code


def test_answers_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_MAX", 1)
    cursors, _, _ = log()
    cursors.append(GroupsForgotten([1]), 5, NOW)
    assert cursors.refused(request()) is None
    cursors.answer(request(), AckReply(), [])
    letter = cursors.refused(request())
    assert letter is not None
    assert unpack_route(letter[2][1]).tail == Code.BUSY
