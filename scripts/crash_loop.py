#!/usr/bin/env python
"""Kills random processes of a loaded broker with -9, and checks that no promise was broken.

    scripts/crash_loop.py --kills 20 --seed 1          what CI runs
    scripts/crash_loop.py --kills 500 --seed 7 --ledger ledger.jsonl

Owns the loop: kills, rounds, summary. Below tests/support: crash_processes has the broker and its
clients, checkers what must hold, crash_record what clients wrote down, recovery how long it took.

A round has one topic and up to 25 kills; at its end producers stop, everything is read once more
from the start, and the whole history is checked. Producers send with both `synced` and `written`:
a killed process loses nothing that it handed to the kernel, so both must hold here (a power cut is
another matter, see docs/reliability.md).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the checkers are shared with the tests

if TYPE_CHECKING:
    from shardmq.client import Admin
    from support.checkers import Read, Violation
    from support.crash_processes import Client
    from support.crash_record import Counts, Record
    from support.recovery import Answer, Kill

ROUND_KILLS = 25
ASK_SECONDS = 0.2
QUEUES = 8
SHOWN_MAX = 20


class Round:
    """One topic, its clients, some kills, one verdict."""

    def __init__(self, loop: CrashLoop, number: int) -> None:
        self.loop = loop
        self.folder = loop.folder / f"round-{number}"
        self.folder.mkdir()
        self.topic = f"crash-{number}"
        self.kills: list[Kill] = []
        self.asked: list[Answer] = []
        self._lives = 0
        self._number = number

    def run(self, kills: int) -> tuple[Record, list[Violation]]:
        """Kills so many times, then checks.

        Raises:
            TimeoutError: the broker does not come back, or a client does not end.
        """
        from shardmq.client import Admin
        from support.crash_processes import START_SECONDS

        with Admin(self.loop.broker.url, timeout=START_SECONDS) as admin:
            admin.create_topic(self.topic, queues=QUEUES)
            readers = [self._client("tail"), self._client("hop")]
            self.producers = [
                self._client("produce", ack=("synced", "written")[number % 2])
                for number in range(self.loop.arguments.producers)
            ]
            self.ended = [*readers]
            try:
                time.sleep(1.0)
                for _ in range(kills):
                    self._kill_one()
                    time.sleep(self.loop.chance.uniform(*self.loop.arguments.gap))
                return self._verdict(admin, readers)
            finally:
                for client in (*self.producers, *self.ended):
                    client.process.kill()
                    client.process.wait()

    def _client(self, role: str, **more: str) -> Client:
        from support.crash_processes import Client

        self._lives += 1
        name = f"{role}-{self._number}-{self._lives}"
        return Client(role, name, self.folder, self.loop.broker.url, self.topic, **more)

    def _kill_one(self) -> None:
        from support.recovery import Kill

        broker, chance = self.loop.broker, self.loop.chance
        component = chance.choice([*broker.components, *broker.components, "all", "producer"])
        if component == "producer":
            victim = chance.choice(self.producers)
            victim.process.kill()
            self.kills.append(Kill(time.monotonic_ns(), "producer"))
            self.producers.remove(victim)
            self.ended.append(victim)
            self.producers.append(self._client("produce", **victim.more))
        else:
            at_ns = broker.kill(component)
            if at_ns is None:
                component = "all"  # it is between two lives: take everything instead
                at_ns = broker.kill(component)
            self.kills.append(Kill(at_ns or time.monotonic_ns(), component))
            if component == "all":
                broker.start()
            if component in ("all", "coordinator"):
                self._await_coordinator()
        self.loop.killed(component)
        assert broker.running(), "serve ended by itself; see serve.log"

    def _await_coordinator(self) -> None:
        """Asks until a question that was asked after the kill is answered.

        Short questions one after the other: a single patient one would measure how long its
        client pauses between attempts.
        """
        from shardmq.client import Admin
        from shardmq.client.errors import ShardMQError
        from support.crash_processes import START_SECONDS
        from support.recovery import Answer

        give_up = time.monotonic() + START_SECONDS
        with Admin(self.loop.broker.url, timeout=ASK_SECONDS) as admin:
            while time.monotonic() < give_up:
                asked_ns = time.monotonic_ns()
                try:
                    admin.topics()
                except ShardMQError:
                    time.sleep(0.01)
                    continue
                self.asked.append(Answer(asked_ns, time.monotonic_ns(), "coordinator"))
                return
        raise TimeoutError("the coordinator does not come back; see serve.log")

    def _verdict(self, admin: Admin, readers: list[Client]) -> tuple[Record, list[Violation]]:
        from support.checkers import check
        from support.crash_record import Record

        for client in self.producers:
            client.stop()
        for client in self.producers:
            client.wait()
        final = self._read_all(admin)
        for client in readers:
            client.stop()
        for client in readers:
            client.wait()
        described = admin.describe_topic(self.topic)
        shard_of = {queue.queue_id: f"shard-{queue.shard}" for queue in described.queues}
        record = Record()
        record.answers.extend(self.asked)
        for client in (*self.producers, *self.ended):
            if client.role == "produce":
                record.add_producer(client.name, client.notes, shard_of)
            else:
                record.add_reader(client.notes)
        violations = check(record.history(final))
        admin.delete_topic(self.topic)
        if not violations and not self.loop.arguments.keep:
            shutil.rmtree(self.folder)
        return record, violations

    def _read_all(self, admin: Admin) -> list[Read]:
        """Every message from the start to what is the end once all producers have stopped."""
        from shardmq.client import PullConsumer
        from support.crash_processes import DRAIN_SECONDS
        from support.crash_record import read_of

        wanted = sum(q.latest - q.earliest for q in admin.describe_topic(self.topic).queues)
        final: list[Read] = []
        give_up = time.monotonic() + DRAIN_SECONDS
        with PullConsumer(self.loop.broker.url, start_from="earliest") as consumer:
            consumer.assign(self.topic)
            while len(final) < wanted and time.monotonic() < give_up:
                for message in consumer.poll(timeout=0.5, max_messages=5_000):
                    body = message.body.decode()
                    final.append(read_of(message.queue_id, message.offset, body))
        return final


class CrashLoop:
    """All rounds, and what came of them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        from support.crash_processes import BrokerProcess

        self.arguments = arguments
        self.chance = random.Random(arguments.seed)
        self.folder = Path(tempfile.mkdtemp(prefix="shardmq-crash-", dir=arguments.directory))
        self.broker = BrokerProcess(self.folder, arguments.shards)
        self.kills: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.slowest: dict[str, float] = {}
        self.violations: list[Violation] = []

    def killed(self, component: str) -> None:
        self.kills[component] += 1
        if sys.stderr.isatty():
            print(f"\r{self.kills.total()} kills ", end="", file=sys.stderr, flush=True)

    def run(self) -> int:
        """All of it; the exit status."""
        started = time.monotonic()
        arguments = self.arguments
        number = 0
        while self.kills.total() < arguments.kills:
            if arguments.seconds and time.monotonic() - started > arguments.seconds:
                break
            number += 1
            this = Round(self, number)
            record, violations = this.run(min(ROUND_KILLS, arguments.kills - self.kills.total()))
            self._add(this, record, violations)
        status = self.broker.stop()
        self._report(time.monotonic() - started, status)
        if not self.violations and status == 0 and not arguments.keep:
            shutil.rmtree(self.folder)
            return 0
        print(f"left for inspection: {self.folder}")
        return 1 if self.violations or status else 0

    def _add(self, this: Round, record: Record, violations: list[Violation]) -> None:
        from support.recovery import recoveries, slowest

        counts: Counts = record.counts()
        self.counts.update(counts._asdict())
        found = recoveries(this.kills, record.answers)
        for name, seconds in slowest(found).items():
            self.slowest[name] = max(self.slowest.get(name, 0.0), seconds)
        self.counts["recoveries_alone"] += sum(one.alone for one in found)
        self.counts["recoveries_unseen"] += sum(one.seconds is None for one in found)
        self.violations.extend(violations)
        print(
            f"{self.kills.total():>4} kills  {counts.acknowledged:>8,} acknowledged"
            f"  {counts.read:>9,} reads  {len(violations)} violations",
            flush=True,
        )

    def _report(self, seconds: float, status: int) -> None:
        for violation in self.violations[:SHOWN_MAX]:
            print(f"VIOLATION {violation.promise}: {violation.text}")
        ledger: dict[str, Any] = {
            "seed": self.arguments.seed,
            "commit": _commit(),
            "shards": self.arguments.shards,
            "kills": dict(sorted(self.kills.items())),
            "seconds": round(seconds, 1),
            **self.counts,
            "recovery_seconds_max": self.slowest,
            "violations": len(self.violations),
            "serve_exit_status": status,
        }
        line = json.dumps(ledger)
        if self.arguments.ledger:
            with Path(self.arguments.ledger).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        print(line)
        times = ", ".join(f"{name} {value:.2f} s" for name, value in self.slowest.items())
        print(
            f"{self.kills.total()} kills in {seconds:.0f} s, seed {self.arguments.seed}:"
            f" {self.counts['acknowledged']:,} acknowledged, {len(self.violations)} violations;"
            f" slowest recovery: {times or 'none seen alone'}"
        )


def _commit() -> str:
    run = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return run.stdout.strip() or "unknown"


def main() -> None:
    """Parses the arguments and runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0, help="start no round after so long")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--producers", type=int, default=3)
    parser.add_argument("--gap", type=float, nargs=2, default=(0.3, 2.5), metavar=("MIN", "MAX"),
                        help="seconds between two kills")  # fmt: skip
    parser.add_argument("--directory", help="where to work; default is the temporary directory")
    parser.add_argument("--ledger", help="append the summary to this file as a JSON line")
    parser.add_argument("--keep", action="store_true", help="leave data and notes behind")
    os.umask(0o077)
    sys.exit(CrashLoop(parser.parse_args()).run())


if __name__ == "__main__":
    main()
