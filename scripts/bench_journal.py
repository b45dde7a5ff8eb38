"""What the journal costs: appends, recovery and reads, against bare writes of the same bytes.

Owns the figures for docs/performance.md about the log alone; no network, no other process. Times
are processor time of this process (user and system), so that a busy machine matters little; only
the synced append is by the wall clock.

    python scripts/bench_journal.py --directory /tmp/bench --json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable
from typing import Any

from shardmq.actors.kernel.ports import Now, Record
from shardmq.actors.protocol.batch import encode_batch
from shardmq.actors.protocol.columns import Columns
from shardmq.shards.log.journal import Journal
from shardmq.shards.log.options import JournalOptions
from shardmq.shards.log.realio import RealLogIO

Figures = dict[str, float]
QUEUES = 8


class Counts:
    """The least a shard's projection does: the next offset of each queue."""

    def __init__(self) -> None:
        self.name = "counts"
        self.buckets = 64
        self.next: dict[int, int] = {}

    def bucket_of(self, record: Record) -> int:
        return record.queue & 63

    def apply(self, record: Record) -> None:
        self.next[record.queue] = record.base_offset + record.count

    def snapshot(self, bucket: int) -> Any:
        states = {queue: end for queue, end in self.next.items() if queue & 63 == bucket}
        return states or None

    def restore(self, bucket: int, state: Any) -> None:
        self.next.update(state)

    def digest(self) -> int:
        return hash(tuple(sorted(self.next.items())))


def now() -> Now:
    return Now(time.monotonic() * 1000, int(time.time() * 1000))


def batch_of(messages: int, body_bytes: int) -> bytes:
    return encode_batch(
        Columns([os.urandom(body_bytes) for _ in range(messages)]),
        producer_id=1, first_sequence=1, first_born_ms=1, last_born_ms=1,
    )  # fmt: skip


def timed(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def open_journal(directory: str, **changes: Any) -> Journal:
    options = JournalOptions(directory=directory, owner="bench", free_bytes_min=0, **changes)
    return Journal.open(RealLogIO(), options, [Counts()], now())


def append_all(journal: Journal, batch: bytes, total: int, a_turn: int, *, sync: bool) -> None:
    """Append `total` batches, `a_turn` of them a turn of the loop."""
    count = int.from_bytes(batch[16:20], "little")
    ends = [0] * QUEUES
    for first in range(0, total, a_turn):
        stamp = now()
        for index in range(first, min(first + a_turn, total)):
            queue = index % QUEUES
            journal.append_batch(queue, ends[queue], batch, stamp)
            ends[queue] += count
        journal.tick(stamp)
        journal.write()
        while sync and (job := journal.begin_job(stamp)) is not None:
            job.run()
            journal.finish_job(job, stamp)


def bare_write(path: str, batch: bytes, total: int, a_turn: int) -> float:
    """The same bytes by writev alone, into preallocated files of a segment's size."""
    prefix = bytes(64)
    each = len(batch) + len(prefix)
    a_file = (128 << 20) // each
    files = []
    for index in range(0, total, a_file):
        file = os.open(f"{path}{index}", os.O_RDWR | os.O_CREAT)
        os.posix_fallocate(file, 0, 128 << 20)
        files.append(file)
    joined = each < 8192

    def work() -> None:
        for first in range(0, total, a_turn):
            data = [prefix, batch] * min(a_turn, total - first)
            file, at = files[first // a_file], first % a_file * each
            os.pwritev(file, [b"".join(data)] if joined else data, at)

    seconds = timed(work)
    for file in files:
        os.close(file)
    return seconds


def bench_append(directory: str, batch: bytes, total: int, a_turn: int) -> Figures:
    """Appends without syncs, against the bare writes."""
    shutil.rmtree(directory, ignore_errors=True)
    journal = open_journal(directory, unsynced_bytes_max=1 << 40)
    seconds = timed(lambda: append_all(journal, batch, total, a_turn, sync=False))
    journal.close(now())
    bare = bare_write(f"{directory}/bare", batch, total, a_turn)
    return {
        "append_us": seconds / total * 1e6,
        "bare_us": bare / total * 1e6,
        "ratio": seconds / bare,
        "mb_per_s": total * (len(batch) + 64) / seconds / 1e6,
    }


def bench_recovery(directory: str, batch: bytes, total: int) -> Figures:
    """Two full segments of lone messages behind the last whole snapshot: the worst that can be."""
    shutil.rmtree(directory, ignore_errors=True)
    records = total // 2
    journal = open_journal(directory, segment_records=records, slice_every_ms=1e12)
    append_all(journal, batch, total, 64, sync=False)
    end = journal.end
    journal.close(now())
    journal = open_journal(directory, segment_records=records)
    journal.close(now())
    box: list[Journal] = []
    seconds = timed(lambda: box.append(open_journal(directory, segment_records=records)))
    report = box[0].report
    assert report.records_scanned >= total, report
    box[0].close(now())
    return {
        "seconds": seconds,
        "records": report.records_scanned,
        "records_per_s": report.records_scanned / seconds,
        "mb_per_s": end / seconds / 1e6,
    }


def bench_read(directory: str, batch: bytes, total: int, bytes_max: int) -> Figures:
    """All batches of all queues, as consumers fetch them."""
    shutil.rmtree(directory, ignore_errors=True)
    journal = open_journal(directory, unsynced_bytes_max=1 << 40)
    append_all(journal, batch, total, 64, sync=True)
    read = calls = 0

    def work() -> None:
        nonlocal read, calls
        for queue in range(QUEUES):
            offset = 0
            while spans := journal.spans(queue, offset, bytes_max, journal.durable):
                read += sum(map(len, journal.read(spans)))
                calls += 1
                offset = spans[-1].base_offset + spans[-1].count

    seconds = timed(work)
    journal.close(now())
    return {
        "mb_per_s": read / seconds / 1e6,
        "us_per_call": seconds / calls * 1e6,
        "batches_per_s": total / seconds,
    }


def bench_sync(directory: str, batch: bytes, total: int) -> Figures:
    """One batch, one sync, again and again: the lone synced send."""
    shutil.rmtree(directory, ignore_errors=True)
    journal = open_journal(directory)
    start = time.perf_counter()
    append_all(journal, batch, total, 1, sync=True)
    seconds = time.perf_counter() - start
    journal.close(now())
    return {"append_write_sync_us": seconds / total * 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", default="/tmp/shardmq-bench-journal")
    parser.add_argument("--scale", type=float, default=1.0, help="of how much is written")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    directory, scale = arguments.directory, arguments.scale
    big, lone = batch_of(2_000, 100), batch_of(1, 96)
    results = {
        "append 200 KB batches, 4 a turn": bench_append(directory, big, int(2_000 * scale), 4),
        "append lone messages, 64 a turn": bench_append(directory, lone, int(200_000 * scale), 64),
        "append lone messages, 1 a turn": bench_append(directory, lone, int(50_000 * scale), 1),
        "append, write, sync lone messages": bench_sync(directory, lone, int(5_000 * scale)),
        "recovery of lone messages": bench_recovery(directory, lone, int(262_144 * scale)),
        "recovery of 200 KB batches": bench_recovery(directory, big, int(1_200 * scale)),
        "read 200 KB batches, 1 MiB a call": bench_read(
            directory, big, int(1_500 * scale), 1 << 20
        ),
        "read lone messages, 64 KiB a call": bench_read(
            directory, lone, int(100_000 * scale), 1 << 16
        ),
    }
    shutil.rmtree(directory, ignore_errors=True)
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    for name, figures in results.items():
        print(f"{name:36}", "  ".join(f"{key} {value:,.2f}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
