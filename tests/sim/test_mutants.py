"""Known bugs, planted one at a time: the simulator sees each of them within some seeds."""

from __future__ import annotations

import pytest

from sim.campaign import first_to_see
from sim.run import run_seed
from sim.work_mutants import MUTANTS

SEEDS_MAX = 150
HINTS: dict[str, int] = {
    "acknowledges before the sync": 34,
    "repeats a receipt that is not synced": 207,
    "counts as synced what came during the sync": 50,
    "syncs only the newest segment": 79,
    "never syncs the directory": 11,
    "calls durable what is only written": 23,
    "leaves producers out of the snapshot": 23,
    "never gives up a request of a lost link": 12,
    "trusts the page cache after a failed sync": 5,
    "drops segments that recovery needs": 4,
    "retries with a new sequence": 4,
    "says failed where nobody knows": 5,
    "places keys by the number of queues": 6,
    "accepts every generation of a group": 2,
    "answers an ack before it is durable": 27,
    "merges ranges one offset too far": 2,
    "leaves ranges out of the snapshot": 27,
    "begins anew with every grant": 2,
    "filters a batch by its first tag": 5,
    "counts acked ranges as lag": 11,
    "takes a queue before its holder gave it back": 2,
    "leaves grants out of the snapshot": 16,
    "takes members for gone after a restart": 1,
    "counts every failure as the first": 2,
    "gives a message up after one failure": 2,
    "has a failed message come again at once": 7,
    "does not end an entry with its copy": 27,
    "schedules a failure without acking it": 2,
    "leaves handouts out of the snapshot": 79,
    "never gives up a message that nobody settles": 2,
    "hands out behind what is handed out in fifo": 8,
    "gives more to a receipt that comes again": 30,
    "settles however late": 27,
    "settles whatever the receipt": 27,
    "says that a message stays and does nothing": 27,
    "tells nobody of what was returned": 210,
    "answers a settle before it is durable": 759,
    "tells shards of grants that are not durable": 432,
    "keeps what was acked through a reset": 19,
    "resets to the end whatever is wanted": 10,
    "forgets a reset when its queue moves": 47,
    "resets again with every later grant": 24,
    "has broadcasting members share a cursor": 21,
}
"""Seeds that saw a bug when this was written. They are tried first, only to save time."""


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_planted_bug_is_seen(mutant: str) -> None:
    seeds = dict.fromkeys([HINTS.get(mutant, 0), *range(SEEDS_MAX)])
    outcome = first_to_see(mutant, seeds)
    assert outcome is not None, f"{SEEDS_MAX} seeds and nothing seen: {mutant}"


def test_a_planted_bug_is_taken_out_again() -> None:
    assert first_to_see(next(iter(MUTANTS)), []) is None
    assert run_seed(0).violations == []


def test_every_hint_names_a_mutant() -> None:
    assert set(HINTS) <= set(MUTANTS)
