"""Flights as messages: which column becomes tag, ordering key, keys and properties.

Owns the reading of one row. Must not send anything.

    column of the row          in the message
    carrier                    tag
    tail number, if recorded   ordering key: what one aircraft did stays in order
    carrier + flight number    key, such as UA1545
    origin-destination         key, such as EWR-IAH
    date, times, delays, ...   properties, where recorded
    the whole row              body, as it stands in the file
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from importlib.resources import files
from io import TextIOWrapper
from itertools import islice
from typing import NamedTuple

__all__ = ["COLUMNS", "FLIGHTS_IN_FILE", "Flight", "flight_of", "packaged_flights"]

COLUMNS = (
    "month", "day", "sched_dep_time", "dep_delay", "arr_delay", "carrier", "flight", "tailnum",
    "origin", "dest", "air_time", "distance",
)  # fmt: skip
FLIGHTS_IN_FILE = 336_776
_YEAR = 2013
_FILE = "flights-2013.csv.xz"


class Flight(NamedTuple):
    """One row, as the parts of a message."""

    row: bytes
    carrier: str
    tail_number: str | None
    """None for a flight that was cancelled before an aircraft was assigned."""
    keys: tuple[str, ...]
    properties: dict[str, str]


def flight_of(row: str) -> Flight:
    """The flight that a line of the file tells of.

    Raises:
        ValueError: it has not the twelve columns.
    """
    values = row.split(",")
    if len(values) != len(COLUMNS):
        raise ValueError(f"a row has {len(COLUMNS)} columns, this one has {len(values)}: {row!r}")
    month, day, scheduled, dep_delay, arr_delay, carrier, number, tail, origin, dest, air, miles = (
        values
    )
    properties = {
        "date": f"{_YEAR}-{month:0>2}-{day:0>2}",
        "scheduled": f"{scheduled[:-2] or '0':0>2}:{scheduled[-2:]:0>2}",
        "origin": origin,
        "destination": dest,
        "distance_miles": miles,
    }
    for name, value in (
        ("departure_delay_min", dep_delay),
        ("arrival_delay_min", arr_delay),
        ("air_time_min", air),
    ):
        if value:
            properties[name] = value
    keys = (carrier + number, f"{origin}-{dest}")
    return Flight(row.encode(), carrier, tail or None, keys, properties)


def packaged_flights(count_max: int = FLIGHTS_IN_FILE) -> Iterator[Flight]:
    """The first flights of the file that comes with the package, in its order."""
    packed = files(__package__).joinpath("static", _FILE)
    with packed.open("rb") as file, TextIOWrapper(lzma.LZMAFile(file), "ascii") as text:
        header = next(text).rstrip("\n")
        assert header == ",".join(COLUMNS), f"{_FILE} has other columns: {header}"
        for line in islice(text, count_max):
            yield flight_of(line.rstrip("\n"))
