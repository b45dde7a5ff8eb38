"""Campaign: many seeds on several processes, with a progress bar and a verdict.

    python -m tests.sim --seeds 20000 --jobs 2      seeds 0 to 19,999
    python -m tests.sim --seed 4711 --trace         one seed, everything that happened
    python -m tests.sim --seeds 200 --mutants       each planted bug must be seen

Owns the command line. Must not know what a seed does. Exit code 1 if anything was violated.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count as numbers_from
from itertools import islice

from .run import Outcome, run_seed
from .swarm import draw
from .work_mutants import MUTANTS, planted

BAR_CHARACTERS = 30
CHUNK_SEEDS = 4


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    options = _parser().parse_args(arguments)
    logging.disable(logging.CRITICAL)  # the broker logs what we do to it
    if options.seed is not None:
        return _one(options.seed, trace=options.trace)
    if options.mutants:
        return _mutants(options.seeds)
    seeds = islice(_chosen(options.start, work=options.work), options.seeds)
    return _many(list(seeds), options.jobs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sim",
        description="Clients, routers, shards and coordinator under faults, seed by seed.",
    )
    parser.add_argument("--seeds", type=int, default=200, help="how many (default: 200)")
    parser.add_argument("--start", type=int, default=0, help="the first one (default: 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--work", action="store_true", help="only seeds with work queues")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--trace", action="store_true", help="with --seed: print everything")
    parser.add_argument(
        "--mutants", action="store_true", help="plant known bugs; --seeds bounds the search"
    )
    return parser


def report(outcome: Outcome, lines: int = 60) -> str:
    """What a failing seed prints."""
    text = [f"seed {outcome.seed}: {len(outcome.violations)} violations"]
    text += [f"  {violation}" for violation in outcome.violations[:10]]
    text += ["the end of its trace:", *outcome.tail[-lines:]]
    text.append(f"again, with everything: python -m tests.sim --seed {outcome.seed} --trace")
    return "\n".join(text)


def _one(seed: int, *, trace: bool) -> int:
    outcome = run_seed(seed, print if trace else None)
    if outcome.violations:
        print(report(outcome))
    figures = ", ".join(f"{count:,} {name}" for name, count in outcome.counts.items())
    print(f"seed {seed}: {outcome.events:,} events, {figures}, trace {outcome.fingerprint:08x}")
    return 1 if outcome.violations else 0


def outcomes(seeds: Iterable[int], jobs: int) -> Iterator[Outcome]:
    """Of all `seeds`, as they come."""
    if jobs <= 1:
        yield from map(run_seed, seeds)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, initializer=_quiet) as pool:
        yield from pool.imap_unordered(run_seed, seeds, chunksize=CHUNK_SEEDS)


def _quiet() -> None:
    logging.disable(logging.CRITICAL)


def _chosen(start: int, *, work: bool) -> Iterator[int]:
    """Seeds from `start` on; with `work` those that have a work group."""
    return (seed for seed in numbers_from(start) if not work or draw(seed).work)


def _many(seeds: list[int], jobs: int) -> int:
    count = len(seeds)
    began = time.monotonic()
    totals: Counter[str] = Counter()
    violations = 0
    for done, outcome in enumerate(outcomes(seeds, jobs), 1):
        totals.update(outcome.counts)
        totals["events"] += outcome.events
        violations += len(outcome.violations)
        if outcome.violations:
            print(f"\r\x1b[K{report(outcome)}", flush=True)
        _show(done, count, violations, time.monotonic() - began)
    seconds = time.monotonic() - began
    print(file=sys.stderr)
    figures = ", ".join(f"{number:,} {name}" for name, number in totals.items() if name != "ok")
    print(figures)
    print(
        f"{count:,} seeds, {violations} violations, {totals['events']:,} events,"
        f" {totals['ok']:,} messages acknowledged, {seconds:,.0f} seconds,"
        f" seeds {seeds[0]}..{seeds[-1]}"
    )
    return 1 if violations else 0


def _show(done: int, count: int, violations: int, seconds: float) -> None:
    if not sys.stderr.isatty() and done % max(1, count // 100):
        return
    filled = BAR_CHARACTERS * done // count
    bar = "#" * filled + "." * (BAR_CHARACTERS - filled)
    left = seconds / done * (count - done)
    line = f"[{bar}] {done:,}/{count:,} seeds, {violations} violations, {left:,.0f} s left"
    print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


def first_to_see(mutant: str, seeds: Iterable[int]) -> Outcome | None:
    """The first outcome that sees the planted bug."""
    with planted(mutant):
        for seed in seeds:
            outcome = run_seed(seed)
            if outcome.violations:
                return outcome
    return None


def _mutants(seeds_max: int) -> int:
    missed = 0
    for mutant in MUTANTS:
        outcome = first_to_see(mutant, range(seeds_max))
        if outcome is None:
            missed += 1
            print(f"MISSED in {seeds_max} seeds: {mutant}", flush=True)
        else:
            rules = ", ".join(sorted({one.rule for one in outcome.violations}))
            print(f"seed {outcome.seed:4}: {mutant} ({rules})", flush=True)
    print(f"{len(MUTANTS)} mutants, {missed} missed")
    return 1 if missed else 0
