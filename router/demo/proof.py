"""What must be true of the flights that came back. Pure: two sequences in, findings out.

Owns the six statements. Must not know how the messages travelled.

A statement that does not hold says what it found, bounded to a few examples. Tests show each of
them red on a stream that was doctored for it: a proof that cannot fail proves nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from .flights import Flight

__all__ = ["Arrived", "Statement", "prove"]

_EXAMPLES = 3


class Arrived(NamedTuple):
    """A flight as a consumer got it, in the order in which it got them."""

    flight: Flight
    queue_id: int
    offset: int


class Statement(NamedTuple):
    """One thing that was checked."""

    text: str
    holds: bool
    found: str
    """What was counted; if it does not hold, what is wrong."""


def prove(sent: Sequence[Flight], arrived: Sequence[Arrived]) -> list[Statement]:
    """Every statement about a replay of `sent`."""
    return [check(sent, arrived) for check in _CHECKS]


def _nothing_missing(sent: Sequence[Flight], arrived: Sequence[Arrived]) -> Statement:
    rows = {one.flight.row for one in arrived}
    missing = [flight.row for flight in sent if flight.row not in rows]
    return _statement("nothing is missing", missing, f"all {len(sent):,} flights came back")


def _nothing_twice(_sent: Sequence[Flight], arrived: Sequence[Arrived]) -> Statement:
    rows = Counter(one.flight.row for one in arrived)
    places = Counter((one.queue_id, one.offset) for one in arrived)
    twice: list[object] = [row for row, count in rows.items() if count > 1]
    twice += [f"queue {queue} offset {at}" for (queue, at), n in places.items() if n > 1]
    return _statement("nothing came twice", twice, f"{len(rows):,} rows at as many offsets")


def _nothing_invented(sent: Sequence[Flight], arrived: Sequence[Arrived]) -> Statement:
    """Tag, keys, ordering key, properties and body are exactly those of a row that was sent."""
    by_row = {flight.row: flight for flight in sent}
    strange = [one.flight.row for one in arrived if by_row.get(one.flight.row) != one.flight]
    return _statement("nothing was changed", strange, "every field is as it was sent")


def _carriers_count(sent: Sequence[Flight], arrived: Sequence[Arrived]) -> Statement:
    wanted = Counter(flight.carrier for flight in sent)
    counted = Counter(one.flight.carrier for one in arrived)
    wrong = [
        f"{carrier}: {counted[carrier]:,} instead of {wanted[carrier]:,}"
        for carrier in sorted(wanted | counted)
        if wanted[carrier] != counted[carrier]
    ]
    return _statement("counts per carrier equal the file's", wrong, f"{len(wanted)} carriers")


def _aircraft_in_order(sent: Sequence[Flight], arrived: Sequence[Arrived]) -> Statement:
    wanted = _by_aircraft(sent)
    flown = _by_aircraft(one.flight for one in arrived)
    wrong = [tail for tail in sorted(wanted | flown) if wanted.get(tail) != flown.get(tail)]
    found = f"{len(wanted):,} aircraft"
    return _statement("order per aircraft equals the file's", wrong, found)


def _aircraft_in_one_queue(_sent: Sequence[Flight], arrived: Sequence[Arrived]) -> Statement:
    queues: defaultdict[str, set[int]] = defaultdict(set)
    for one in arrived:
        if one.flight.tail_number is not None:
            queues[one.flight.tail_number].add(one.queue_id)
    spread = [f"{tail} in {sorted(used)}" for tail, used in queues.items() if len(used) > 1]
    used = len({one.queue_id for one in arrived})
    return _statement("each aircraft stays in its queue", spread, f"{used} queues were used")


_CHECKS: tuple[Callable[[Sequence[Flight], Sequence[Arrived]], Statement], ...] = (
    _nothing_missing,
    _nothing_twice,
    _nothing_invented,
    _carriers_count,
    _aircraft_in_order,
    _aircraft_in_one_queue,
)


def _by_aircraft(flights: Iterable[Flight]) -> dict[str, list[bytes]]:
    rows: defaultdict[str, list[bytes]] = defaultdict(list)
    for flight in flights:
        if flight.tail_number is not None:
            rows[flight.tail_number].append(flight.row)
    return dict(rows)


def _statement(text: str, wrong: Sequence[object], found: str) -> Statement:
    if not wrong:
        return Statement(text, True, found)
    examples = ", ".join(
        one.decode("ascii", "replace") if isinstance(one, bytes) else str(one)
        for one in wrong[:_EXAMPLES]
    )
    more = f" and {len(wrong) - _EXAMPLES:,} more" if len(wrong) > _EXAMPLES else ""
    return Statement(text, False, f"{len(wrong):,} wrong: {examples}{more}")
