"""Slots: how an ordering key finds its queue.

    slot = crc32c(UTF-8 of the ordering key) % 4096,  queue = slot table of the topic [slot]

Adding queues leaves the table as it is, so every key keeps its queue and its order; only closing a
queue for writing hands its slots to the queues that stay open.
"""

from __future__ import annotations

from collections.abc import Sequence

from .checksum import crc32c
from .limits import SLOTS

__all__ = ["slot_of", "slots_moved", "slots_spread"]


def slot_of(ordering_key: str) -> int:
    """The slot of a key, 0..4095."""
    return crc32c(ordering_key.encode()) % SLOTS


def slots_spread(queue_ids: Sequence[int]) -> list[int]:
    """A fresh table: slot -> queue_id, dealt evenly over `queue_ids` (at least one)."""
    assert queue_ids, "a topic has at least one writable queue"
    count = len(queue_ids)
    return [queue_ids[slot % count] for slot in range(SLOTS)]


def slots_moved(slots: Sequence[int], writable: Sequence[int]) -> list[int]:
    """The table when only `writable` queues take messages: slots of other queues are dealt out
    anew over `writable`, every other slot stays."""
    assert writable, "a topic has at least one writable queue"
    allowed = set(writable)
    count = len(writable)
    moved = list(slots)
    dealt = 0
    for slot, queue_id in enumerate(slots):
        if queue_id not in allowed:
            moved[slot] = writable[dealt % count]
            dealt += 1
    return moved
