"""Snapshots: the state of all projections, written as a series of small slices.

Owns how a series is cut, written, found again and restored. Knows projections only by their port.

A snapshot of everything at once would stall the loop, so a series is spread over many turns. Each
slice holds a range of buckets of one projection and is true for its own lsn: everything below it
is in the slice, nothing above. So on replay a record is applied to a bucket only if it lies above
the slice that restored that bucket; a bucket that no slice names (it was born while the series was
written) takes every record from the first slice on.

A series is whole when its slices 0..n are all there and the last one says so. Recovery starts at
the newest whole series; a segment may go only behind one.

    payload of a slice: msgpack [projection name, first bucket, behind the last, {bucket: state}]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from shardmq.actors.kernel.ports import Projection, Record

from .options import JournalOptions
from .scan import Slice

__all__ = ["Gate", "SeriesWriter", "SliceBody", "newest_whole_series", "read_slice"]

_encode = msgspec.msgpack.Encoder().encode


class SliceBody(NamedTuple):
    """What a slice says: `states` of the buckets in [first, stop) that are not empty."""

    projection: str
    first: int
    stop: int
    states: dict[int, Any]


_decode = msgspec.msgpack.Decoder(tuple[str, int, int, dict[int, Any]]).decode


def read_slice(payload: bytes) -> SliceBody:
    """The body of a slice whose checksum was right."""
    return SliceBody(*_decode(payload))


class SeriesWriter:
    """Cuts one series, a slice at a time."""

    def __init__(self, projections: Sequence[Projection], options: JournalOptions) -> None:
        self._projections = projections
        self._bytes_max = options.slice_bytes
        self._buckets_max = options.slice_buckets
        self.running = False
        self.first_lsn = 0
        """Lsn of slice 0, once that is written: the name of the series."""
        self.number = 0
        """Number of the next slice."""
        self.place = 0, 0
        """(projection, bucket) that the next slice begins with."""

    def start(self) -> None:
        """Begin a series; one that was running is given up."""
        self.running = True
        self.number, self.place = 0, (0, 0)

    def cut(self) -> tuple[bytes, bool]:
        """Payload of the next slice, and whether it is the last. Bounded work. It is true for its
        own lsn only: who does not write it sets `place` back."""
        assert self.running
        if not self._projections:
            return _encode(("", 0, 0, {})), True
        number, first = self.place
        projection = self._projections[number]
        size, states = 0, {}
        stop = min(projection.buckets, first + self._buckets_max)
        at = first
        while at < stop and size < self._bytes_max:
            state = projection.snapshot(at)
            if state is not None:
                packed = _encode(state)
                states[at] = msgspec.Raw(packed)
                size += len(packed)
            at += 1
        self.place = (number, at) if at < projection.buckets else (number + 1, 0)
        last = self.place[0] == len(self._projections)
        return _encode((projection.name, first, at, states)), last

    def wrote(self, lsn: int, *, last: bool) -> None:
        """The slice that was cut stands at `lsn`."""
        if self.number == 0:
            self.first_lsn = lsn
        self.number += 1
        self.running = not last


def newest_whole_series(slices: Iterable[Slice], below_lsn: int) -> list[Slice] | None:
    """Slices, in order, of the newest series that is whole below `below_lsn`; None if none is."""
    by_series: dict[int, list[Slice]] = {}
    for one in slices:
        if one.lsn < below_lsn:
            by_series.setdefault(one.series, []).append(one)
    for series in sorted(by_series, reverse=True):
        found = sorted(by_series[series], key=lambda one: one.number)
        numbers = [one.number for one in found]
        if found[-1].last and numbers == list(range(len(found))) and found[0].lsn == series:
            return found
    return None


class Gate:
    """Applies replayed records to one projection, each bucket from its own lsn on."""

    __slots__ = ("_from", "_otherwise", "apply_fully", "bucket_of", "projection", "until")

    def __init__(self, projection: Projection, otherwise: int) -> None:
        self.projection = projection
        self.bucket_of = projection.bucket_of
        self.apply_fully = projection.apply
        self._from: dict[int, int] = {}
        self._otherwise = otherwise
        self.until = otherwise
        """Above this lsn every bucket takes every record: no gate is needed any more."""

    def restore(self, body: SliceBody, lsn: int) -> None:
        """Take the states of the slice at `lsn`."""
        for bucket in range(body.first, body.stop):
            self._from[bucket] = lsn
        self.until = max(self.until, lsn)
        for bucket, state in body.states.items():
            self.projection.restore(bucket, state)

    def apply(self, record: Record) -> None:
        """Apply `record` if it is news to its bucket."""
        bucket = self.bucket_of(record)
        if bucket >= 0 and record.lsn >= self._from.get(bucket, self._otherwise):
            self.apply_fully(record)
