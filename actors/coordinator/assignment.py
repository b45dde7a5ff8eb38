"""Assignment: which member of a group shall have which queue.

Owns the strategies, as pure functions: same input, same result. Knows neither grants nor time; who
holds a queue until its new owner may have it is up to `rebalance.py`.

Members of a group have the same subscriptions, so the queues of all its topics make one pool and
every member may have every queue. That keeps a group with many small topics balanced, where a
division topic by topic would give the first member one queue more of each. Only the queues of its
retries are a pool of their own: they are nearly always empty, and whoever got those for its share
would have nothing to do. Each pool is shared out evenly, and so are all together, since who has a
larger share of one pool comes last for that of the next.

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
from heapq import heapify, heappop, heapreplace
from itertools import chain

from ..protocol.group_messages import Strategy
from ..protocol.work_messages import EVERYBODY

__all__ = ["assigned", "in_common"]

VIRTUAL_NODES = 32
"""Points of a member on the ring; shares then differ by some 18 % (one standard deviation)."""
_POINTS = struct.Struct(">Q")
_Pools = Sequence[Sequence[int]]


def assigned(
    strategy: Strategy,
    members: Sequence[str],
    pools: Sequence[Sequence[int]],
    held: Mapping[int, str],
) -> dict[int, str]:
    """Who shall have each queue of `pools`; empty without members.

    Args:
        members: names, each once.
        pools: queues that are shared out evenly by themselves, those that matter most first. In a
            pool numbers, each once in all of them, in the order of topics and queue ids.
        held: who has which queue now, or shall have it; names of former members do not matter.
    """
    if not members:
        return {}
    return _BY_STRATEGY[strategy](sorted(members), pools, held)


def in_common(queues: Sequence[int], held: Mapping[int, str]) -> dict[int, str]:
    """All of `queues` for everybody, as in work groups; those that everybody has come first, so
    that they stay where there are more than one holder may have."""
    first = {queue: EVERYBODY for queue in queues if held.get(queue) == EVERYBODY}
    return first | dict.fromkeys(queues, EVERYBODY)


def _sticky(members: list[str], pools: _Pools, held: Mapping[int, str]) -> dict[int, str]:
    kept = [_kept(members, queues, held) for queues in pools]
    shares = [divmod(len(queues), len(members)) for queues in pools]
    # Whom a larger share spares a move, pool by pool; nobody behind the last.
    spared = [
        {member for member in members if len(one[member]) > share}
        for one, (share, _) in zip(kept, shares, strict=True)
    ] + [set[str]()]
    loads = dict.fromkeys(members, 0)
    result: dict[int, str] = {}
    for index, queues in enumerate(pools):
        share, larger = shares[index]
        ranks = _ranked(members, loads, spared[index], spared[index + 1])
        quotas = {member: share + (rank < larger) for rank, member in enumerate(ranks)}
        result |= _filled(queues, kept[index], quotas)
        for member, quota in quotas.items():
            loads[member] += quota
    return result


def _ranked(
    members: list[str], loads: Mapping[str, int], here: set[str], behind: set[str]
) -> list[str]:
    """Who is first to get a larger share: who has less so far, then whom it spares a move `here`;
    of those that are alike, who does not need the one of the pool `behind`."""
    return sorted(members, key=lambda one: (loads[one], one not in here, one in behind))


def _kept(
    members: list[str], queues: Sequence[int], held: Mapping[int, str]
) -> dict[str, list[int]]:
    """What each member has of `queues`."""
    kept: dict[str, list[int]] = {member: [] for member in members}
    for queue in queues:
        owned = kept.get(held.get(queue, ""))
        if owned is not None:
            owned.append(queue)
    return kept


def _filled(
    queues: Sequence[int], kept: Mapping[str, list[int]], quotas: Mapping[str, int]
) -> dict[int, str]:
    """Every member with as many of `queues` as its quota says, first of those that it has; the
    others are dealt one by one to whoever has the fewest, so that neighbours are spread."""
    result: dict[int, str] = {}
    wanting = []
    for member, quota in quotas.items():
        own = kept[member][:quota]
        result.update(dict.fromkeys(own, member))
        if len(own) < quota:
            wanting.append((len(own), member))
    heapify(wanting)
    for queue in [one for one in queues if one not in result]:
        count, member = wanting[0]
        result[queue] = member
        if count + 1 < quotas[member]:
            heapreplace(wanting, (count + 1, member))
        else:
            heappop(wanting)
    return result


def _average(members: list[str], pools: _Pools, held: Mapping[int, str]) -> dict[int, str]:
    count = len(members)
    result: dict[int, str] = {}
    next_larger = 0
    for queues in pools:
        share, larger = divmod(len(queues), count)
        first = 0
        for rank, member in enumerate(members):
            behind = first + share + ((rank - next_larger) % count < larger)
            result.update(dict.fromkeys(queues[first:behind], member))
            first = behind
        next_larger = (next_larger + larger) % count
    return result


def _circle(members: list[str], pools: _Pools, held: Mapping[int, str]) -> dict[int, str]:
    count = len(members)
    queues = chain.from_iterable(pools)
    return {queue: members[index % count] for index, queue in enumerate(queues)}


def _hash(members: list[str], pools: _Pools, held: Mapping[int, str]) -> dict[int, str]:
    ring = sorted((point, member) for member in members for point in _points(member))
    points = [point for point, _ in ring]
    result = {}
    for queue in chain.from_iterable(pools):
        index = bisect_left(points, _point(b"queue %d" % queue))
        result[queue] = ring[index % len(ring)][1]
    return result


@lru_cache(maxsize=16_384)
def _points(member: str) -> tuple[int, ...]:
    return tuple(_point(f"{index} {member}".encode()) for index in range(VIRTUAL_NODES))


def _point(key: bytes) -> int:
    point: int = _POINTS.unpack(hashlib.blake2b(key, digest_size=8).digest())[0]
    return point


_Assign = Callable[[list[str], _Pools, Mapping[int, str]], dict[int, str]]
_BY_STRATEGY: dict[Strategy, _Assign] = {
    "sticky": _sticky,
    "average": _average,
    "circle": _circle,
    "hash": _hash,
}
