"""Calls: attempts, back-off, and what an absent answer means."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.codes import CODE_ROWS, Code
from shardmq.actors.protocol.verbs import Verb
from shardmq.client.link.calls import Call, Reply, back_off_ms, may_resend


def test_attempts_wait_longer_each_time() -> None:
    call = Call(Verb.PING, b"\x80", lambda *_: None, deadline_ms=0)
    waits = []
    for call.attempts in (1, 2, 3):
        waits.append(call.attempt_timeout_ms())
    assert waits == [1_000, 1_500, 2_250]


def test_back_off_grows_is_bounded_and_never_below_what_the_broker_asks() -> None:
    grown = [back_off_ms(attempts, 0, 1.0) for attempts in range(12)]
    assert grown == sorted(grown)
    assert grown[-1] == 1_000
    assert back_off_ms(1, 5_000, 1.0) == 5_000
    assert back_off_ms(3, 0, 0.5) < back_off_ms(3, 0, 1.5)


@pytest.mark.parametrize("row", CODE_ROWS)
def test_only_retryable_codes_are_sent_again_and_old_routes_are_not(row: object) -> None:
    code, retryable = row.code, row.retryable  # type: ignore[attr-defined]
    by_others = {Code.STALE_ROUTE, Code.MOVED, Code.CORRUPT_BATCH, Code.UNKNOWN_SESSION}
    assert may_resend(code) == (retryable and code not in by_others)


def test_a_reply_without_header_says_whether_anybody_was_there() -> None:
    nobody = Reply(Code.TIMED_OUT, b"", [], unknown=False, sent=False)
    silent = Reply(Code.TIMED_OUT, b"", [], unknown=True, sent=True)
    assert "no broker" in nobody.error().message
    assert "did not answer" in silent.error().message
    garbage = Reply(Code.BUSY, b"\xc1", [], unknown=False, sent=True)
    assert "unreadable" in garbage.error().message
