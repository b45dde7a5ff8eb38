"""The words of a recovery's report."""

from __future__ import annotations

from shardmq.shards.log.decide import Case, decide
from shardmq.shards.log.report import RecoveryReport, SetAside, lost_stretch
from shardmq.shards.log.scan import Damage, Found


def _report(**changes: object) -> RecoveryReport:
    facts: dict[str, object] = {
        "epoch": 3, "end": 900, "durable": 800, "replay_from": 100, "segments": 2,
        "segments_scanned": 1, "records_scanned": 9, "read_only": False, "lost": [],
        "set_aside": [], "notes": [],
    }  # fmt: skip
    return RecoveryReport(**{**facts, **changes})  # type: ignore[arg-type]


def test_a_clean_start_has_nothing_to_say() -> None:
    assert _report().lines() == []


def test_a_lost_batch_is_named_by_queue_and_offsets() -> None:
    damage = Damage(100, 300, Found.BODY, True, 7, 40, 3)
    lost = lost_stretch(damage, decide(Case(True, Found.BODY, True, False, False)))
    assert "queue 7 offsets [40, 43)" in str(lost)
    assert "[100, 300)" in str(lost)
    assert not lost.read_only


def test_the_worst_comes_first_and_set_aside_bytes_may_have_been_acknowledged() -> None:
    row = decide(Case(True, Found.NOISE, True, True, False))
    state = lost_stretch(Damage(100, 300, Found.NOISE, False), row)
    batch = lost_stretch(
        Damage(10, 90, Found.BODY, True, 1, 0, 1),
        decide(Case(True, Found.BODY, True, False, False)),
    )
    aside = SetAside("/log/set-aside/x", 900, 2, {1: 44})
    lines = _report(lost=[batch, state], set_aside=[aside], notes=["a note"]).lines()
    assert "read-only" in lines[0]
    assert "queue 1" in lines[1]
    assert "may have been acknowledged" in lines[2]
    assert "queue 1 below 44" in lines[2]
    assert lines[3] == "a note"
