"""The record of a crash loop: notes of workers become one history."""

from __future__ import annotations

from pathlib import Path

from support.checkers import Place, Read, Value
from support.crash_record import Record, read_of

PRODUCER = "S 1 k1 100\nS 2 k2 150\nS 3 k1 160\nS 4 k1 170\nA 1 0 7 250\nF 2 BUSY\nU 3 TIMED_OUT\n"


def test_notes_become_a_history(tmp_path: Path) -> None:
    (tmp_path / "p").write_text(PRODUCER, encoding="utf-8")
    (tmp_path / "r").write_text(
        "N tail\nR 0 7 p:k1:1\nE Unavailable\nN hop-1\nR 0 7 p:k1:1\n", "utf-8"
    )
    record = Record()
    record.add_producer("p", tmp_path / "p", {0: "shard-1"})
    record.add_reader(tmp_path / "r")
    final = [Read(Place(0, 7), Value("p", "k1", 1))]
    history = record.history(final)
    assert history.acknowledged == {Value("p", "k1", 1): Place(0, 7)}
    assert history.failed == {Value("p", "k2", 2)}
    assert len(history.sent) == 4
    assert history.readers == {"tail": final, "hop-1": final}
    assert record.counts() == (4, 1, 1, 1, 2)
    assert record.answers == [(100, 250, "shard-1")]


def test_a_line_cut_by_a_kill_is_no_statement(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("S 1 k1 100\nA 1 0 7 2", encoding="utf-8")
    record = Record()
    record.add_producer("p", tmp_path / "p", {0: "shard-0"})
    assert record.counts().acknowledged == 0


def test_a_worker_that_wrote_nothing_saw_nothing(tmp_path: Path) -> None:
    record = Record()
    record.add_reader(tmp_path / "never-made")
    assert record.history([]).readers == {}


def test_a_body_that_no_worker_made_is_a_value_that_nobody_sent() -> None:
    assert read_of(0, 1, "garbage").value == Value("garbage", "", -1)
    assert read_of(0, 1, "p:k1:12").value == Value("p", "k1", 12)
