"""Parting: how long who leaves waits for a broker that is away, and what the log says of it."""

from __future__ import annotations

import logging

import pytest

from shardmq.client.group.parting import ALONE_MS, LOOK_MS, Parting, warn_of
from support.clients import Wired


def test_while_the_broker_is_there_nobody_is_alone() -> None:
    wired = Wired()
    parting = Parting(wired.core, wired.now)
    wired.advance(60_000)
    assert not parting.is_alone
    parting.end()


def test_a_broker_that_has_been_away_for_long_is_not_waited_for_at_all() -> None:
    assert Parting(Wired(connected=False).core, Wired().now).is_alone
    wired = Wired()
    wired.core.disconnected(wired.now)
    wired.advance(ALONE_MS)
    assert Parting(wired.core, wired.now).is_alone


def test_one_that_has_just_gone_is_waited_for_a_little() -> None:
    wired = Wired()
    wired.core.disconnected(wired.now)
    wired.advance(ALONE_MS / 2)
    parting = Parting(wired.core, wired.now)
    over = parting.unless_alone(lambda: False)
    wired.advance(ALONE_MS / 2 - 1)
    assert not over()
    wired.advance(LOOK_MS)
    assert over()


def test_one_that_comes_back_is_waited_for_again() -> None:
    wired = Wired()
    parting = Parting(wired.core, wired.now)
    wired.core.disconnected(wired.now)
    wired.advance(ALONE_MS + LOOK_MS)
    assert parting.is_alone
    wired.core.connected(wired.now)
    wired.run()
    wired.advance(LOOK_MS)
    assert not parting.is_alone


def test_what_is_done_is_done_whoever_is_there() -> None:
    wired = Wired()
    assert Parting(wired.core, wired.now).unless_alone(lambda: True)()


def test_after_its_end_it_looks_no_more() -> None:
    wired = Wired()
    Parting(wired.core, wired.now).end()
    wired.core.disconnected(wired.now)
    assert wired.core.wake_at_ms is None or wired.core.wake_at_ms > wired.now.mono_ms + LOOK_MS


def test_the_log_names_what_was_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "shardmq.client"):
        warn_of("g", left=True)
        assert not caplog.messages, "all was told"
        warn_of("g", left=False, failures=2, settlements=3)
    [text] = caplog.messages
    for word in ("'g'", "2 messages that failed", "what became of 3 messages", "it left"):
        assert word in text
