"""What must be true of the flights that came back. Pure: two sequences in, findings out.

Owns the six statements. Must not know how the messages travelled.

A statement that does not hold says what it found, bounded to a few examples. Tests show each of
them red on a stream that was doctored for it: a proof that cannot fail proves nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .flights import Flight

__all__ = ["Arrived", "Statement", "prove"]

_EXAMPLES = 3


class Arrived(NamedTuple):
    """A flight as a member of the group got it, in the order in which it got them."""

    flight: Flight
    queue_id: int
    offset: int
    member: int = 0


class Statement(NamedTuple):
    """One thing that was checked."""

    text: str
    holds: bool
    found: str
    """What was counted; if it does not hold, what is wrong."""


def prove(
    sent: Sequence[Flight], arrived: Sequence[Arrived], killed: int | None = None
) -> list[Statement]:
    """Every statement about a replay of `sent`, during which member `killed` was killed."""
    once = _without_repeats(arrived)
    return [
        _nothing_missing(sent, arrived),
        _nothing_twice(arrived, killed),
        _nothing_invented(sent, arrived),
        _carriers_count(sent, once),
        _aircraft_in_order(sent, arrived),
        _aircraft_in_one_queue(arrived),
    ]


def _without_repeats(arrived: Iterable[Arrived]) -> list[Arrived]:
    """The first delivery of what lies at each place."""
    first: dict[tuple[int, int], Arrived] = {}
    for one in arrived:
        first.setdefault((one.queue_id, one.offset), one)
    return list(first.values())


def _nothing_missing(sent: Sequence[Flight], arrived: Sequence[Arrived]) -> Statement:
    rows = {one.flight.row for one in arrived}
    missing = [flight.row for flight in sent if flight.row not in rows]
    return _statement("nothing is missing", missing, f"all {len(sent):,} flights came back")


def _nothing_twice(arrived: Sequence[Arrived], killed: int | None) -> Statement:
    """Each flight lies at one place, and came from there once; a second time only to another
    member than the killed one, which had it first and was killed before it acknowledged it."""
    places: defaultdict[bytes, set[tuple[int, int]]] = defaultdict(set)
    takers: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for one in arrived:
        place = one.queue_id, one.offset
        places[one.flight.row].add(place)
        takers[place].append(one.member)
    again = 0
    twice: list[object] = [row for row, found in places.items() if len(found) > 1]
    rows_at = Counter(place for found in places.values() for place in found)
    for (queue_id, offset), members in takers.items():
        repeated = len(members) == 2 and killed in members and len(set(members)) == 2
        again += repeated
        if (len(members) > 1 and not repeated) or rows_at[queue_id, offset] > 1:
            twice.append(f"queue {queue_id} offset {offset}")
    found = f"{len(places):,} rows at as many offsets"
    text = "nothing came twice"
    if killed is not None:
        text += ", but for what the killed member had not acknowledged"
        found += f", {again:,} came again"
    return _statement(text, twice, found)


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
    """As it is stored, and as each member got it; a repeat counts where it came first."""
    wanted = _by_aircraft(sent)
    stored = sorted(_without_repeats(arrived), key=lambda one: (one.queue_id, one.offset))
    flown = _by_aircraft(one.flight for one in stored)
    wrong = {tail for tail in wanted.keys() | flown.keys() if wanted.get(tail) != flown.get(tail)}
    position = {flight.row: index for index, flight in enumerate(sent)}
    streams: defaultdict[int, list[Arrived]] = defaultdict(list)
    for one in arrived:
        streams[one.member].append(one)
    for stream in streams.values():
        last: dict[str, int] = {}
        for one in _without_repeats(stream):
            tail, at = one.flight.tail_number, position.get(one.flight.row, -1)
            if tail is not None:
                if at < last.get(tail, -1):
                    wrong.add(tail)
                last[tail] = at
    found = f"{len(wanted):,} aircraft, {len(streams)} members"
    return _statement("order per aircraft equals the file's", sorted(wrong), found)


def _aircraft_in_one_queue(arrived: Sequence[Arrived]) -> Statement:
    queues: defaultdict[str, set[int]] = defaultdict(set)
    for one in arrived:
        if one.flight.tail_number is not None:
            queues[one.flight.tail_number].add(one.queue_id)
    spread = [f"{tail} in {sorted(used)}" for tail, used in queues.items() if len(used) > 1]
    used = len({one.queue_id for one in arrived})
    return _statement("each aircraft stays in its queue", spread, f"{used} queues were used")


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
