"""Assignment: which member of a group shall have which queue.

Owns the strategies, as pure functions: same input, same result. Knows neither grants nor time; who
holds a queue until its new owner may have it is up to `rebalance.py`.

Members of a group have the same subscriptions, so all its queues, whatever their topics, make one
pool and every member may have every queue. That keeps a group with many small topics balanced,
where a division topic by topic would give the first member one queue more of each.

    sticky    every member has as many queues as any other, or one more; whoever has its share keeps
              what it has, so that as few queues move as that allows
    average   blocks of neighbours, in the order of the members' names
    circle    queue by queue around the members
    hash      a ring with virtual nodes: a member that comes or goes moves only its own queues, at
              the price of unequal shares
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from heapq import heapify, heapreplace

from ..protocol.group_messages import Strategy
from ..protocol.work_messages import EVERYBODY

__all__ = ["assigned", "in_common"]

VIRTUAL_NODES = 32
"""Points of a member on the ring; shares then differ by some 18 % (one standard deviation)."""
_POINTS = struct.Struct(">Q")


def assigned(
    strategy: Strategy, members: Sequence[str], queues: Sequence[int], held: Mapping[int, str]
) -> dict[int, str]:
    """Who shall have each of `queues`; empty without members.

    Args:
        members: names, each once.
        queues: numbers, each once, in the order of topics and queue ids.
        held: who has which queue now, or shall have it; names of former members do not matter.
    """
    if not members:
        return {}
    return _BY_STRATEGY[strategy](sorted(members), queues, held)


def in_common(queues: Sequence[int], held: Mapping[int, str]) -> dict[int, str]:
    """All of `queues` for everybody, as in work groups; those that everybody has come first, so
    that they stay where there are more than one holder may have."""
    first = {queue: EVERYBODY for queue in queues if held.get(queue) == EVERYBODY}
    return first | dict.fromkeys(queues, EVERYBODY)


def _sticky(members: list[str], queues: Sequence[int], held: Mapping[int, str]) -> dict[int, str]:
    kept: dict[str, list[int]] = {member: [] for member in members}
    free: list[int] = []
    for queue in queues:
        owned = kept.get(held.get(queue, ""))
        (free if owned is None else owned).append(queue)
    share, larger = divmod(len(queues), len(members))
    # The larger shares go to those that have the most: fewer queues move than with any others.
    by_size = sorted(members, key=lambda member: -len(kept[member]))
    result: dict[int, str] = {}
    counts = []
    for rank, member in enumerate(by_size):
        quota = share + (rank < larger)
        free += kept[member][quota:]
        result.update(dict.fromkeys(kept[member][:quota], member))
        counts.append((min(quota, len(kept[member])), member))
    heapify(counts)
    place = {queue: index for index, queue in enumerate(queues)}
    for queue in sorted(free, key=place.__getitem__):
        count, member = counts[0]
        result[queue] = member
        heapreplace(counts, (count + 1, member))
    return result


def _average(members: list[str], queues: Sequence[int], held: Mapping[int, str]) -> dict[int, str]:
    share, larger = divmod(len(queues), len(members))
    result: dict[int, str] = {}
    first = 0
    for rank, member in enumerate(members):
        behind = first + share + (rank < larger)
        result.update(dict.fromkeys(queues[first:behind], member))
        first = behind
    return result


def _circle(members: list[str], queues: Sequence[int], held: Mapping[int, str]) -> dict[int, str]:
    count = len(members)
    return {queue: members[index % count] for index, queue in enumerate(queues)}


def _hash(members: list[str], queues: Sequence[int], held: Mapping[int, str]) -> dict[int, str]:
    ring = sorted((point, member) for member in members for point in _points(member))
    points = [point for point, _ in ring]
    result = {}
    for queue in queues:
        index = bisect_left(points, _point(b"queue %d" % queue))
        result[queue] = ring[index % len(ring)][1]
    return result


@lru_cache(maxsize=16_384)
def _points(member: str) -> tuple[int, ...]:
    return tuple(_point(f"{index} {member}".encode()) for index in range(VIRTUAL_NODES))


def _point(key: bytes) -> int:
    point: int = _POINTS.unpack(hashlib.blake2b(key, digest_size=8).digest())[0]
    return point


_Assign = Callable[[list[str], Sequence[int], Mapping[int, str]], dict[int, str]]
_BY_STRATEGY: dict[Strategy, _Assign] = {
    "sticky": _sticky,
    "average": _average,
    "circle": _circle,
    "hash": _hash,
}
