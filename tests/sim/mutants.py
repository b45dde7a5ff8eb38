"""Mutants: known bugs, put into the real code one at a time, each of which the simulator must see.

Owns the bugs, as replacements of single functions; `planted` puts one in and takes it out again. A
simulator that misses one of them proves nothing by finding none in the real code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.protocol.batch import encode_batch, read_batch_header
from shardmq.client.consume.fetcher import Fetcher
from shardmq.client.produce.columns import recovered
from shardmq.client.produce.lanes import Lanes
from shardmq.client.routes import TopicMap
from shardmq.router.admission import Admission
from shardmq.router.router import Router
from shardmq.shards import produce
from shardmq.shards.durability import Durability
from shardmq.shards.log import (
    housekeeping,
    indexfile,
    jobs,
    logscan,
    recovery,
    retention,
    tables,
)
from shardmq.shards.log.flush import Flush
from shardmq.shards.log.jobs import SyncJob
from shardmq.shards.log.journal import Journal
from shardmq.shards.log.snapshot import Gate
from shardmq.shards.state.producers import Producers
from shardmq.shards.state.queues import Queues

Patch = Callable[[], list[tuple[Any, str, Any]]]
MUTANTS: dict[str, Patch] = {}


def mutant(patch: Patch) -> Patch:
    """Names a bug after the function that makes it."""
    MUTANTS[patch.__name__.replace("_", " ")] = patch
    return patch


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The code has the bug `name` for a while."""
    changes = MUTANTS[name]()
    before = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in changes]
    for owner, attribute, value in changes:
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for owner, attribute, value in before:
            setattr(owner, attribute, value)


# --- the shard -------------------------------------------------------------------------------


@mutant
def acknowledges_before_the_sync() -> list[tuple[Any, str, Any]]:
    def send(self: Any, request: Any, reply: Any, ack: str, lsn: int, out: list[Any]) -> None:
        out.append(request.answer(reply))

    return [(produce.ProduceReplies, "send", send)]


@mutant
def forgets_who_sent_what() -> list[tuple[Any, str, Any]]:
    return [(Producers, "get", lambda self, producer_id, queue: None)]


@mutant
def repeats_a_receipt_that_is_not_synced() -> list[tuple[Any, str, Any]]:
    right = produce.receipt_again

    def again(queue: int, entry: Any) -> tuple[Any, int]:
        return right(queue, entry)[0], 0

    return [(produce, "receipt_again", again)]


@mutant
def calls_durable_what_is_only_written() -> list[tuple[Any, str, Any]]:
    return [(Journal, "durable", property(lambda self: self._written))]


@mutant
def shows_what_was_appended_with_what_is_durable() -> list[tuple[Any, str, Any]]:
    right = Durability.advance

    def advance(self: Any, durable: int) -> Any:
        return right(self, durable + 400)

    return [(Durability, "advance", advance)]


@mutant
def restarts_one_offset_too_low() -> list[tuple[Any, str, Any]]:
    right = Queues.reveal

    def reveal(self: Any) -> None:
        for queue in self.stored():
            offsets = self.at(queue)
            offsets.next = max(0, offsets.next - 1)
        right(self)

    return [(Queues, "reveal", reveal)]


@mutant
def leaves_producers_out_of_the_snapshot() -> list[tuple[Any, str, Any]]:
    return [(Producers, "snapshot", lambda self, bucket: None)]


# --- the log ---------------------------------------------------------------------------------


@mutant
def counts_as_synced_what_came_during_the_sync() -> list[tuple[Any, str, Any]]:
    right = Journal._synced

    def synced(self: Any, job: Any, now: Any) -> None:
        right(self, job, now)
        self._durable = self._written

    return [(Journal, "_synced", synced)]


@mutant
def never_syncs_the_directory() -> list[tuple[Any, str, Any]]:
    def run(self: Any) -> None:
        for file in self._files:
            self._io.fdatasync(file)

    return [(SyncJob, "run", run)]


@mutant
def syncs_only_the_newest_segment() -> list[tuple[Any, str, Any]]:
    right = Flush.begin

    def begin(self: Any, end: int, records: int, now: Any) -> Any:
        job = right(self, end, records, now)
        job._files = job._files[-1:]
        return job

    return [(Flush, "begin", begin)]


@mutant
def ends_the_log_at_the_last_mark() -> list[tuple[Any, str, Any]]:
    right = logscan._find_end

    def find_end(result: Any) -> None:
        right(result)
        if result.scans and result.durable > result.scans[-1].base:
            result.end = min(result.end, result.durable)

    return [(logscan, "_find_end", find_end)]


@mutant
def trusts_the_page_cache_after_a_failed_sync() -> list[tuple[Any, str, Any]]:
    return [(recovery, "_write_again", lambda *arguments: None)]


@mutant
def replays_only_from_the_end_of_the_snapshot() -> list[tuple[Any, str, Any]]:
    def apply(self: Any, record: Any) -> None:
        if self.bucket_of(record) >= 0 and record.lsn >= self.until:
            self.apply_fully(record)

    return [(Gate, "apply", apply)]


@mutant
def drops_segments_that_recovery_needs() -> list[tuple[Any, str, Any]]:
    right = retention.may_drop_oldest

    def may_drop(segments: Any, options: Any, **facts: Any) -> bool:
        return right(segments, options, **{**facts, "keep_from_lsn": 1 << 60})

    return [(housekeeping, "may_drop_oldest", may_drop)]


@mutant
def indexes_a_sealed_segment_without_its_last_batch() -> list[tuple[Any, str, Any]]:
    def shortened(rows: Any) -> Any:
        return {queue: words[:-4] if len(words) > 4 else words for queue, words in rows.items()}

    right = indexfile.encode_index

    def encode(base: int, end: int, last_crc: int, rows: Any) -> bytes:
        return right(base, end, last_crc, shortened(rows))

    return [(jobs, "encode_index", encode), (tables, "encode_index", encode)]


# --- router and coordinator ------------------------------------------------------------------


@mutant
def hands_replies_to_another_session() -> list[tuple[Any, str, Any]]:
    right = Router._reply

    def reply(self: Any, letter: Any, now: Any, out: list[Any]) -> None:
        before = len(out)
        right(self, letter, now, out)
        peers = list(self._sessions.by_peer)
        for index in range(before, len(out)):
            link, peer, frames = out[index]
            out[index] = link, peers[(peers.index(peer) + 1) % len(peers)], frames

    return [(Router, "_reply", reply)]


@mutant
def never_gives_up_a_request_of_a_lost_link() -> list[tuple[Any, str, Any]]:
    return [(Admission, "settle_where", lambda self, *arguments, **conditions: [])]


@mutant
def gives_queue_numbers_again() -> list[tuple[Any, str, Any]]:
    def next_queue(self: Any) -> int:
        return 1 + max((p.number for t in self.all() for p in t.places), default=0)

    return [(Catalogue, "next_queue", property(next_queue))]


# --- the client ------------------------------------------------------------------------------


@mutant
def retries_with_a_new_sequence() -> list[tuple[Any, str, Any]]:
    right = Lanes._put_back

    def put_back(self: Any, lane: Any, part: Any) -> None:
        head = read_batch_header(part.batch)
        part.batch = encode_batch(
            recovered(part.batch),
            producer_id=head.producer_id,
            first_sequence=head.first_sequence + head.count,
            first_born_ms=head.first_born_ms,
            last_born_ms=head.last_born_ms,
        )
        right(self, lane, part)

    return [(Lanes, "_put_back", put_back)]


@mutant
def says_failed_where_nobody_knows() -> list[tuple[Any, str, Any]]:
    def fail(self: Any, part: Any, fault: Any, now: Any) -> None:
        part.fault = fault._replace(unknown=False)
        self._settle(part, now)

    return [(Lanes, "fail", fail)]


@mutant
def places_keys_by_the_number_of_queues() -> list[tuple[Any, str, Any]]:
    def queue_for(self: Any, ordering_key: str) -> Any:
        return self.writable[sum(ordering_key.encode()) % len(self.writable)]

    return [(TopicMap, "queue_for", queue_for)]


@mutant
def steps_over_a_message_now_and_then() -> list[tuple[Any, str, Any]]:
    right = Fetcher._take_record

    def take(self: Any, cursor: Any, record: Any, frame_end: int) -> None:
        right(self, cursor, record, frame_end)
        if cursor.fetch_offset % 7 == 3:
            cursor.fetch_offset += 1

    return [(Fetcher, "_take_record", take)]
