"""The dump: a log for people, as JSON lines, verified, and damages accepted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from shardmq.shards.dump import main
from shardmq.shards.log.realio import RealLogIO
from shardmq.shards.log.record import STATE
from shardmq.shards.state.queues import CARRIED_QUEUE
from shardmq.shards.state.records import Granted, GrantedQueue, encode_state
from support.journals import Model, open_journal, options
from support.shards import batch


@pytest.fixture
def worked(tmp_path: Path) -> tuple[Path, Model]:
    model = Model()
    model.work(RealLogIO(), options(str(tmp_path)), 20, close=True)
    return tmp_path, model


def _run(directory: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [str(directory), *arguments], catch_exceptions=False)


def _lines(directory: Path, *arguments: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in _run(directory, "--json", *arguments).output.splitlines()]


def test_every_record_is_a_line(worked: tuple[Path, Model]) -> None:
    directory, model = worked
    lines = _lines(directory)
    batches = [(one["lsn"], one["queue"]) for one in lines if one["kind"] == "batch"]
    assert batches == [(one.lsn, one.queue) for one in model.records if one.kind == 1]
    assert lines[0]["kind"] == "segment"
    assert lines[0]["payload"] == [1, "test"]
    assert {"mark", "snapshot", "state"} <= {str(one["kind"]) for one in lines}
    text = _run(directory).output
    assert len(text.splitlines()) == len(lines)
    assert "queue 0  offsets [0, 1)" in text


@pytest.mark.parametrize("owner", ["shard-0", "coordinator"])
def test_state_records_of_a_shard_are_shown_by_name(tmp_path: Path, owner: str) -> None:
    journal, _ = open_journal(RealLogIO(), options(str(tmp_path), owner=owner))
    granted = Granted(7, "billing", [GrantedQueue(1, 2, "ann", "paid", 300)])
    journal.append_state(encode_state(granted), Model().now(), queue=1)
    journal.append_state(bytes.fromhex("927f01"), Model().now(), queue=1)
    journal.close(Model().now())
    first, newer = (one for one in _lines(tmp_path) if one["kind"] == "state")
    if owner == "coordinator":
        assert first["payload"] == [6, 7, "billing", [[1, 2, "ann", "paid", 300]]]
        return
    assert (first["state"], first["group"], newer["payload"]) == ("Granted", "billing", "927f01")
    assert "state Granted  group_id 7  group billing" in _run(tmp_path).output


def test_a_batch_of_copies_tells_which_entries_it_ends(tmp_path: Path) -> None:
    journal, _ = open_journal(RealLogIO(), options(str(tmp_path)))
    now = Model().now()
    journal.append_batch(
        3, 0, batch([b"x"], message_ids=["f" * 32], entries=[(5, 600, 1)]), now
    )  # fmt: skip
    journal.close(now)
    (line,) = (one for one in _lines(tmp_path) if one["kind"] == "batch")
    assert line["copies_end"] == [[5, 600, 1]]
    assert "copies_end [(5, 600, 1)]" in _run(tmp_path).output


def test_what_is_shown_can_be_narrowed(worked: tuple[Path, Model]) -> None:
    directory, model = worked
    assert {one["queue"] for one in _lines(directory, "--queue", "2")} == {2}
    start = model.records[-1].lsn
    assert _lines(directory, "--from-lsn", str(start))[0]["lsn"] == start
    assert len(_lines(directory, "--limit", "3")) == 3


def test_a_sound_log_verifies(worked: tuple[Path, Model]) -> None:
    directory, _ = worked
    result = _run(directory, "--verify")
    assert result.exit_code == 0
    assert "damages  0" in result.output
    (summary,) = _lines(directory, "--verify")
    assert summary["damages"] == 0
    assert summary["read_only"] is False


def test_a_damage_is_shown_told_accepted_and_then_the_log_opens(worked: tuple[Path, Model]) -> None:
    directory, model = worked
    state = [one for one in model.records if one.kind == STATE][-1]
    log = max(directory.glob("*.log"))
    data = bytearray(log.read_bytes())
    data[state.lsn - int(log.stem) + 66] ^= 1
    log.write_bytes(bytes(data))
    assert "DAMAGE" in _run(directory).output
    assert any(one["kind"] == "damage" for one in _lines(directory))
    verified = _run(directory, "--verify")
    assert verified.exit_code == 1
    assert "read-only until it is accepted" in verified.output
    journal, _ = open_journal(RealLogIO(), options(str(directory)))
    assert journal.read_only
    journal.close(model.now())
    accepted = _run(directory, "--accept-damage")
    assert accepted.exit_code == 0
    assert "accepted 1 damages" in accepted.output
    journal, _ = open_journal(RealLogIO(), options(str(directory)))
    assert not journal.read_only
    journal.close(model.now())


def test_looking_changes_nothing_and_needs_no_lock(worked: tuple[Path, Model]) -> None:
    directory, model = worked
    journal, _ = open_journal(RealLogIO(), options(str(directory)))
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert _run(directory, "--verify").exit_code == 0
    assert before == {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    journal.close(model.now())


def test_a_directory_without_a_log_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 1
    assert "no segments" in result.output


def test_a_batch_of_what_was_carried_tells_how_much_it_is(tmp_path: Path) -> None:
    journal, _ = open_journal(RealLogIO(), options(str(tmp_path)))
    now = Model().now()
    journal.append_batch(CARRIED_QUEUE, 0, batch([b"x"] * 2, message_ids=["f" * 32] * 2), now)
    journal.close(now)
    (line,) = (one for one in _lines(tmp_path) if one["kind"] == "batch")
    assert line["carries"] == 2
