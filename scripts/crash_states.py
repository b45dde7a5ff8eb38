"""Crash states of the log, as many as there is time for: power cuts, nested, by seed.

Owns nothing but the loop; the workload, the states and what must hold are those of tests/crash. CI
tries some ten thousand states; this goes on with other seeds, other sizes and deeper nesting, and
says how many there were. The first violation ends it with the seed.

    python scripts/crash_states.py --minutes 10
    python scripts/crash_states.py --seed 4711 --rounds 1
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.crashes import CrashStates
from support.disk import SimDisk
from support.journals import Model, options


def one_round(seed: int) -> tuple[int, int]:
    """One workload under one set of options; (states, of them with bytes set aside)."""
    chance = random.Random(seed)
    settings = options(
        segment_bytes=chance.choice([1024, 2048, 4096]),
        segment_records=chance.choice([8, 12, 64]),
        slice_bytes=chance.choice([1, 16, 4096]),
        retention_bytes=chance.choice([None, 3000, 8000]),
        unsynced_bytes_max=chance.choice([2000, 1 << 20]),
    )
    crash = CrashStates(settings, seed=seed, every=chance.choice([1, 2, 5]), pairs_max=20)
    crash.nested = chance.choice([0, 0, 1, 2])
    disk, model = SimDisk(), Model()
    for _ in range(chance.randint(1, 3)):  # a log with a past
        io = disk.io()
        model.work(io, settings, chance.randint(1, 12), close=chance.random() < 0.5)
        serials = disk.unsynced()
        disk = disk.power_cut(keep=[one for one in serials if chance.random() < 0.5])
    io = disk.io()
    crash.watch(io, model)
    model.work(io, settings, chance.randint(4, 16))
    return crash.tally.states, crash.tally.set_aside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of the first round")
    parser.add_argument("--rounds", type=int, help="how many; otherwise --minutes decide")
    parser.add_argument("--minutes", type=float, default=5.0)
    arguments = parser.parse_args()
    start = time.monotonic()
    states = aside = rounds = 0
    while rounds != arguments.rounds:
        if arguments.rounds is None and time.monotonic() - start > arguments.minutes * 60:
            break
        seed = arguments.seed + rounds
        try:
            tried, set_aside = one_round(seed)
        except BaseException:
            print(f"seed {seed} failed, after {states:,} states", file=sys.stderr)
            raise
        states, aside, rounds = states + tried, aside + set_aside, rounds + 1
        print(f"\rseed {seed}: {states:,} states", end="", flush=True)
    seconds = time.monotonic() - start
    print(
        f"\n{states:,} crash states in {rounds} rounds (seeds {arguments.seed} to"
        f" {arguments.seed + rounds - 1}), {aside:,} of them with a tail set aside,"
        f" {seconds:.0f} s: nothing durable lost, nothing given twice, no state that is no fold"
    )


if __name__ == "__main__":
    main()
