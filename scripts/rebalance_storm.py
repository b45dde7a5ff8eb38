#!/usr/bin/env python
"""Real members of one consumer group come, go, freeze and are killed, while messages flow.

Each change starts a member, ends one with SIGTERM, kills one with -9, or stops one (SIGSTOP) for up
to --frozen seconds and lets it go on as if nothing had happened. After each change the script waits
until the living members hold all queues, and notes how long that took. In the end it compares what
was sent with what the members wrote down, each for itself:

    lost       a message that was sent and acknowledged was handed to nobody
    invented   a message was handed to a member that nobody sent
    again      a message came again after it was committed, to a member that was never stopped
    stuck      after a change the living members did not hold all queues in time

A message that is handed out twice without one of these is what "at least once" allows: its reader
was killed, or stopped, before it committed. They are counted.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from shardmq.client import Admin, Message, Producer, PullConsumer, errors
from shardmq.router import Broker

TOPIC, GROUP = "storm", "storm"
SETTLE_LEASES = 3
BODIES_A_STEP = 20


class Result(NamedTuple):
    """What came of a run."""

    violations: list[str]
    figures: dict[str, Any]


# --- one member, in a process of its own -----------------------------------------------------


def run_member(url: str, name: str, ledger: Path, lease_s: float) -> None:
    """Reads and commits until SIGTERM; writes down each message and each commit."""
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    with (
        ledger.open("a", buffering=1) as book,
        PullConsumer(
            url, group=GROUP, name=name, start_from="earliest", auto_commit=False, lease=lease_s
        ) as mine,
    ):
        mine.subscribe(TOPIC)
        while not ending.is_set():
            messages = mine.poll(timeout=0.2, max_messages=500)
            at_s = time.monotonic()
            for one in messages:
                book.write(f"m {at_s:.4f} {one.queue_id} {one.offset} {one.body.decode()}\n")
            if not messages:
                continue
            try:
                mine.commit()
            except errors.ShardMQError as error:
                book.write(f"e {at_s:.4f} {type(error).__name__}\n")
                continue
            at_s = time.monotonic()
            last = {one.queue_id: one.offset for one in messages}
            for queue_id, offset in last.items():
                book.write(f"c {at_s:.4f} {queue_id} {offset + 1}\n")


# --- the storm -------------------------------------------------------------------------------


class Members:
    """The living member processes."""

    def __init__(self, url: str, folder: Path, lease_s: float) -> None:
        self._url = url
        self._folder = folder
        self._lease_s = lease_s
        self.started = 0
        self.living: dict[str, subprocess.Popen[bytes]] = {}
        self.frozen: dict[str, float] = {}
        """Name -> when it goes on."""
        self.was_frozen: set[str] = set()

    def start(self) -> None:
        self.started += 1
        name = f"member-{self.started}"
        ledger = self._folder / f"{name}.txt"
        words = ["--member", name, "--url", self._url, "--ledger", str(ledger)]
        words += ["--lease", str(self._lease_s)]
        self.living[name] = subprocess.Popen([sys.executable, __file__, *words])

    def end(self, name: str, how: signal.Signals) -> None:
        process = self.living.pop(name)
        process.send_signal(how)
        if how == signal.SIGTERM:
            assert process.wait(30) == 0, f"{name} did not end in order"
        else:
            process.wait(30)

    def freeze(self, name: str, seconds: float) -> None:
        self.living[name].send_signal(signal.SIGSTOP)
        self.frozen[name] = time.monotonic() + seconds
        self.was_frozen.add(name)

    def thaw(self, *, everybody: bool = False) -> None:
        now_s = time.monotonic()
        for name, until_s in list(self.frozen.items()):
            if everybody or until_s <= now_s:
                del self.frozen[name]
                self.living[name].send_signal(signal.SIGCONT)

    def kill_all(self) -> None:
        for process in self.living.values():
            process.kill()


class Sending(threading.Thread):
    """Sends numbers all the time, at about `rate` a second."""

    def __init__(self, url: str, rate: float) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._rate = rate
        self.ending = threading.Event()
        self.sent = 0

    def run(self) -> None:
        with Producer(self._url, timeout=30.0) as producer:
            while not self.ending.wait(BODIES_A_STEP / self._rate):
                numbers = range(self.sent, self.sent + BODIES_A_STEP)
                producer.send_batch([Message(TOPIC, b"%d" % number) for number in numbers])
                self.sent += BODIES_A_STEP


def changed(members: Members, rng: random.Random, options: argparse.Namespace) -> str:
    """One change; says which."""
    awake = sorted(set(members.living) - set(members.frozen))
    kinds = ["join"] * 4 if len(members.living) < options.members else []
    if len(awake) > 2:
        kinds += ["leave", "kill", "freeze"]
    kind = rng.choice(kinds)
    if kind == "join":
        members.start()
    elif kind == "freeze":
        members.freeze(rng.choice(awake), rng.uniform(0.02, 1.0) * options.frozen)
    else:
        how = signal.SIGTERM if kind == "leave" else signal.SIGKILL
        members.end(rng.choice(awake), how)
    return kind


def settled_seconds(admin: Admin, members: Members, lease_s: float) -> float | None:
    """How long it took until the living hold every queue; None if it took too long."""
    began_s = time.monotonic()
    while time.monotonic() < began_s + SETTLE_LEASES * lease_s:
        members.thaw()
        owners = owners_now(admin)
        held = Counter(owners)
        # A member that is stopped may still hold queues, as long as its lease runs.
        if owners and None not in held and set(held) <= set(members.living):
            awake = set(members.living) - set(members.frozen)
            if awake <= set(held) or len(awake) > len(owners):
                return time.monotonic() - began_s
        time.sleep(0.02)
    return None


def owners_now(admin: Admin) -> list[str | None]:
    """Of every queue; none before the first member has come."""
    try:
        return [queue.owner for queue in admin.describe_group(GROUP).queues]
    except errors.GroupNotFound:
        return []


def storm(options: argparse.Namespace) -> Result:
    """A whole run."""
    rng = random.Random(options.seed)
    violations: list[str] = []
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="shardmq-storm-") as folder:
        path = Path(folder)
        broker = Broker(path / "data", shards=options.shards, listen="tcp://127.0.0.1:0")
        with broker, Admin(broker.url) as admin:
            admin.create_topic(TOPIC, queues=options.queues)
            sending = Sending(broker.url, options.rate)
            sending.start()
            members = Members(broker.url, path, options.lease)
            try:
                for _ in range(min(3, options.members)):
                    members.start()
                if settled_seconds(admin, members, options.lease) is None:
                    violations.append("stuck: at the start")
                for number in range(1, options.changes + 1):
                    kind = changed(members, rng, options)
                    if members.frozen and kind != "freeze":
                        kind += ", another one frozen"
                    taken = settled_seconds(admin, members, options.lease)
                    if taken is None:
                        violations.append(f"stuck: after change {number} ({kind})")
                    else:
                        seconds.setdefault(kind, []).append(taken)
                    if number % 25 == 0:
                        text = f"{number} changes, {len(members.living)} members"
                        print(f"{text}, {sending.sent:,} sent", file=sys.stderr, flush=True)
                sending.ending.set()
                sending.join(60)
                members.thaw(everybody=True)
                violations += drained(admin, 2 * SETTLE_LEASES * options.lease)
                for name in list(members.living):
                    members.end(name, signal.SIGTERM)
            finally:
                members.kill_all()
        found, figures = compared(path, sending.sent, members.was_frozen)
    figures["settled_seconds"] = {
        kind: {"count": len(ones), "median": median(ones), "max": round(max(ones), 3)}
        for kind, ones in sorted(seconds.items())
    }
    return Result(violations + found, figures)


def drained(admin: Admin, seconds: float) -> list[str]:
    """Waits until nothing lags."""
    until_s = time.monotonic() + seconds
    while (lag := admin.describe_group(GROUP).lag) and time.monotonic() < until_s:
        time.sleep(0.1)
    return [f"stuck: {lag} messages are not consumed in calm weather"] if lag else []


def median(values: list[float]) -> float:
    return round(sorted(values)[len(values) // 2], 3)


# --- what the members wrote down -------------------------------------------------------------


def compared(folder: Path, sent: int, was_frozen: set[str]) -> tuple[list[str], dict[str, Any]]:
    """The promises that were broken, and counts."""
    violations: list[str] = []
    handed: Counter[int] = Counter()
    commits: dict[int, list[tuple[float, int]]] = {}
    books = {file.stem: file.read_text().splitlines() for file in folder.glob("member-*.txt")}
    refusals: Counter[str] = Counter()
    for lines in books.values():
        for line in lines:
            word = line.split()
            if word[0] == "c":
                commits.setdefault(int(word[2]), []).append((float(word[1]), int(word[3])))
            elif word[0] == "e":
                refusals[word[2]] += 1
            else:
                handed[int(word[4])] += 1
    for ones in commits.values():
        ones.sort()
    for name, lines in books.items():
        if name not in was_frozen:
            violations += again(name, lines, commits)
    lost = [number for number in range(sent) if not handed[number]]
    if lost:
        violations.append(f"lost: {len(lost)} messages, the first is {lost[0]}")
    invented = [number for number in handed if not 0 <= number < sent]
    if invented:
        violations.append(f"invented: {len(invented)} messages, for example {invented[0]}")
    figures = {
        "sent": sent,
        "handed": sum(handed.values()),
        "handed_more_than_once": sum(count > 1 for count in handed.values()),
        "members": len(books),
        "commits_refused": dict(refusals),
    }
    return violations, figures


def again(name: str, lines: list[str], commits: dict[int, list[tuple[float, int]]]) -> list[str]:
    """again: what one member, never stopped, should not have got."""
    found = []
    floor_of: dict[int, tuple[int, int]] = {}
    """Queue -> (commits looked at, floor by then)."""
    for line in lines:
        word = line.split()
        if word[0] != "m":
            continue
        at_s, queue_id, offset = float(word[1]), int(word[2]), int(word[3])
        seen, floor = floor_of.get(queue_id, (0, 0))
        rows = commits.get(queue_id, [])
        # A fetch may have been under way for a moment when the commit returned.
        while seen < len(rows) and rows[seen][0] < at_s - 2.0:
            floor = max(floor, rows[seen][1])
            seen += 1
        floor_of[queue_id] = seen, floor
        if offset < floor:
            text = f"queue {queue_id} offset {offset} behind a commit of {floor}"
            found.append(f"again: {name} got {text}")
    return found[:5]


def main() -> None:
    """Runs, prints, and ends with 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: rebalance_storm.py --changes 500 --members 50 --frozen 150 --seed 1",
    )
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--members", type=int, default=8, help="at most at a time")
    parser.add_argument("--queues", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2_000.0, help="messages a second")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--lease", type=float, default=10.0, help="of the members, seconds")
    parser.add_argument("--frozen", type=float, default=30.0, help="seconds at most")
    parser.add_argument("--seed", type=int, default=1)
    for name in ("--member", "--url", "--ledger"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.member:
        run_member(options.url, options.member, Path(options.ledger), options.lease)
        return
    began_s = time.monotonic()
    result = storm(options)
    for violation in result.violations[:50]:
        print(violation)
    print(json.dumps(result.figures, indent=2))
    print(
        f"{options.changes} changes in {time.monotonic() - began_s:,.0f} s, seed {options.seed}:"
        f" {result.figures['sent']:,} sent, {len(result.violations)} violations"
    )
    sys.exit(1 if result.violations else 0)


if __name__ == "__main__":
    main()
