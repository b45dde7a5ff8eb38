#!/usr/bin/env python
"""How long a killed process is away: kill -9 to the next answer that went through it.

The shard is killed with as much log behind its last snapshot as the bounds allow: a million lone
messages (a batch each) are appended to its journal first, so that its last segment is almost full
of records. Then each process in turn is killed a few times.

    scripts/restart_time.py
    scripts/restart_time.py --messages 100000 --kills 5 --json
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from shardmq.actors.kernel.clock import SystemClock
from shardmq.actors.protocol.batch import encode_batch
from shardmq.actors.protocol.columns import Columns
from shardmq.client import Admin, Message, Producer
from shardmq.router import Broker
from shardmq.shards.log.journal import Journal
from shardmq.shards.log.options import JournalOptions
from shardmq.shards.log.realio import RealLogIO
from shardmq.shards.shard import ShardState

SEGMENT_RECORDS = JournalOptions(directory=".").segment_records
MESSAGES = 8 * SEGMENT_RECORDS - 4_000
"""Almost eight segments full of records: what lies behind the last snapshot is at its bound."""
TURN_MESSAGES = 512
LIMIT_SECONDS = 30.0
PROCESSES = ("shard-0", "router-0", "coordinator")


def fill(directory: Path, messages: int) -> None:
    """Appends lone messages to the journal of a stopped shard, through its own projections."""
    state, clock = ShardState(), SystemClock()
    options = JournalOptions(directory=str(directory), owner=directory.name)
    journal = Journal.open(RealLogIO(), options, state.projections, clock.now())
    columns = Columns(bodies=[b"x" * 100])
    for first in range(0, messages, TURN_MESSAGES):
        now = clock.now()
        for sequence in range(first, min(first + TURN_MESSAGES, messages)):
            batch = encode_batch(
                columns, producer_id=7, first_sequence=1 + sequence,
                first_born_ms=now.wall_ms, last_born_ms=now.wall_ms,
            )  # fmt: skip
            journal.append_batch(1, sequence, batch, now)
        journal.tick(now)
        journal.write()
        while (job := journal.begin_job(now)) is not None:
            job.run()
            journal.finish_job(job, now)
        tell(f"appended {min(first + TURN_MESSAGES, messages):,} of {messages:,}")
    journal.close(clock.now())


def seconds_until(answers: Callable[[], object]) -> float:
    """Until a short question is answered; asked again and again."""
    start = time.monotonic()
    while time.monotonic() - start < LIMIT_SECONDS:
        try:
            answers()
        except Exception as error:
            tell(f"not back yet: {type(error).__name__}")
        else:
            return time.monotonic() - start
    raise SystemExit(f"nothing was answered within {LIMIT_SECONDS:.0f} s")


def measure(messages: int, kills: int, directory: str | None) -> dict[str, list[float]]:
    """Seconds of each kill, by process."""
    with tempfile.TemporaryDirectory(prefix="shardmq-restart-", dir=directory) as folder:
        data = Path(folder) / "data"
        with Broker(data, shards=1, listen="tcp://127.0.0.1:0") as broker, Admin(broker.url) as a:
            a.create_topic("lone", queues=1)
        fill(data / "shard-0", messages)
        seconds: dict[str, list[float]] = {name: [] for name in PROCESSES}
        with (
            Broker(data, shards=1, listen="tcp://127.0.0.1:0") as broker,
            Producer(broker.url) as producer,
            Admin(broker.url) as admin,
        ):
            message = Message("lone", b"after")
            producer.send(message)
            asks: dict[str, Callable[[], object]] = {
                "shard-0": lambda: producer.send(message, timeout=0.25),
                "router-0": lambda: producer.send(message, timeout=0.25),
                "coordinator": admin.topics,
            }
            for _ in range(kills):
                for name in PROCESSES:
                    os.kill(broker.pids()[name], signal.SIGKILL)
                    seconds[name].append(round(seconds_until(asks[name]), 3))
        return seconds


def tell(text: str) -> None:
    """Progress, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=MESSAGES, help="lone messages in the log")
    parser.add_argument("--kills", type=int, default=3, help="of each process")
    parser.add_argument("--directory", help="where to work; default is the temporary directory")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    seconds = measure(arguments.messages, arguments.kills, arguments.directory)
    tell("")
    if arguments.json:
        print(json.dumps({"messages": arguments.messages, "seconds": seconds}))
        return
    for name, times in seconds.items():
        print(f"{name:12} back after {max(times):.2f} s at most, of {len(times)} kills -9")
    print(f"with {arguments.messages:,} lone messages in the log of shard-0")


if __name__ == "__main__":
    main()
