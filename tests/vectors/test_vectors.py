"""The vectors replayed: what another language reads from them is what this code means.

Owns the comparison of tests/vectors/*.json with the decoders and encoders; the examples themselves
are made by scripts/protocol_vectors.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.batch import BatchView, Columns, check_batch, encode_batch
from shardmq.actors.protocol.checksum import crc32c
from shardmq.actors.protocol.codec import decode_header, encode_header
from shardmq.actors.protocol.codes import CODE_ROWS, Code
from shardmq.actors.protocol.compress import Compression
from shardmq.actors.protocol.frames import (
    FLAG_JSON,
    ROUTE,
    SHARD_ANY,
    SHARD_COORDINATOR,
    SHARD_ROUTER,
    FrameError,
    Route,
    pack_envelope,
    unpack_route,
)
from shardmq.actors.protocol.slots import slot_of, slots_moved, slots_spread
from shardmq.actors.protocol.verbs import VERB_ROWS, Verb
from shardmq.actors.protocol.verbs import row_of as verb_row
from shardmq.client.records import FetchedRecord, split_records
from support import repo


def load(name: str) -> Any:
    return json.loads((repo.ROOT / "tests/vectors" / name).read_text(encoding="utf-8"))


VERBS = load("verbs.json")
ERRORS = load("errors.json")
BATCHES = load("batches.json")


def named(vectors: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("vector", vectors, ids=[one["name"] for one in vectors])


def test_every_verb_has_request_and_reply_in_both_encodings() -> None:
    wanted = {
        (row.verb.name, kind, encoding)
        for row in VERB_ROWS
        for kind in ("request", "reply")
        for encoding in ("msgpack", "json")
    }
    assert {(one["verb"], one["kind"], one["encoding"]) for one in VERBS} == wanted


def test_every_code_has_an_error_in_both_encodings() -> None:
    wanted = {row.code.name for row in CODE_ROWS if row.code is not Code.OK}
    for encoding in ("msgpack", "json"):
        assert {one["code"] for one in ERRORS if one["encoding"] == encoding} == wanted


def header_type(vector: dict[str, Any]) -> type[m.Header]:
    if "code" in vector:
        return m.ErrorReply
    row = verb_row(Verb[vector["verb"]])
    assert row is not None
    return row.request if vector["kind"] == "request" else row.reply


@named(VERBS + ERRORS)
def test_a_frame_decodes_to_its_values_and_encodes_to_its_bytes(vector: dict[str, Any]) -> None:
    frames = [bytes.fromhex(frame) for frame in vector["frames"]]
    route = unpack_route(frames[0])
    assert route == Route(**vector["route"])
    assert ROUTE.pack(b"SMQ", 1, *route) == frames[0]
    assert bool(route.flags & FLAG_JSON) == (vector["encoding"] == "json")
    kind = header_type(vector)
    header = decode_header(frames[1], kind, route.flags)
    assert header == msgspec.convert(vector["header"], kind)
    assert encode_header(header, route.flags) == frames[1]
    assert [frame.hex() for frame in frames[2:]] == vector["payload"]


@named(VERBS + ERRORS)
def test_a_header_reads_the_same_without_this_codes_types(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["frames"][1])
    plain = json.loads(frame) if vector["encoding"] == "json" else msgspec.msgpack.decode(frame)
    # What is left out on the wire is the default, which the values may spell out.
    assert plain.items() <= vector["header"].items()


@named(ERRORS)
def test_an_error_says_what_its_row_says(vector: dict[str, Any]) -> None:
    row = next(row for row in CODE_ROWS if row.code.name == vector["code"])
    header = msgspec.convert(vector["header"], m.ErrorReply)
    assert vector["route"]["tail"] == row.code
    assert (header.name, header.retryable, header.hint) == (row.code.name, row.retryable, row.hint)


def test_payload_of_produce_and_fetch_are_a_batch_and_records() -> None:
    by_name = {one["name"]: one for one in VERBS}
    (batch,) = by_name["PRODUCE request, msgpack"]["payload"]
    assert check_batch(bytes.fromhex(batch)).count == 3
    (frame,) = by_name["FETCH reply, msgpack"]["payload"]
    (record,) = split_records(bytes.fromhex(frame))
    assert isinstance(record, FetchedRecord)
    assert (record.queue, record.base_offset, record.batch.hex()) == (12, 500, batch)


def columns_of(vector: dict[str, Any]) -> Columns:
    bodies = [bytes.fromhex(body) for body in vector["columns"]["bodies"]]
    return Columns(**{**vector["columns"], "bodies": bodies})


@named(BATCHES)
def test_a_batch_decodes_to_its_columns(vector: dict[str, Any]) -> None:
    batch = bytes.fromhex(vector["hex"])
    head = check_batch(batch)
    assert head._asdict() == vector["header"]
    view = BatchView(batch, head)
    read = Columns(
        view.bodies(), view.tags(), view.keys(), view.ordering_keys(), view.properties(),
        view.due_times_ms(), view.message_ids(), view.offset_deltas(),
    )  # fmt: skip
    assert read == columns_of(vector)


@named([one for one in BATCHES if one["deterministic"]])
def test_a_batch_encodes_to_its_bytes(vector: dict[str, Any]) -> None:
    head = check_batch(bytes.fromhex(vector["hex"]))
    batch = encode_batch(
        columns_of(vector), producer_id=head.producer_id, first_sequence=head.first_sequence,
        first_born_ms=head.first_born_ms, last_born_ms=head.last_born_ms,
        compression=vector["compression"],
    )  # fmt: skip
    assert batch.hex() == vector["hex"]


@named(BATCHES)
def test_a_batch_comes_as_a_record(vector: dict[str, Any]) -> None:
    (record,) = split_records(bytes.fromhex(vector["record"]["hex"]))
    assert isinstance(record, FetchedRecord)
    assert record.batch.hex() == vector["hex"]
    stored = (record.queue, record.base_offset, record.stored_at_ms)
    assert stored == tuple(vector["record"][name] for name in
                           ("queue", "base_offset", "stored_at_ms"))  # fmt: skip


def test_the_compressed_batch_is_compressed() -> None:
    (packed,) = [one for one in BATCHES if not one["deterministic"]]
    assert packed["header"]["meta_codec"] == packed["header"]["bodies_codec"] == Compression.ZSTD


def test_slots_are_those_of_the_vectors() -> None:
    slots = load("slots.json")
    for one in slots["keys"]:
        assert crc32c(one["key"].encode()) == one["crc32c"]
        assert slot_of(one["key"]) == one["slot"] == one["crc32c"] % 4_096
    table = slots_spread([0, 1, 2])
    assert table[:12] == slots["three_queues"]
    assert slots_moved(table, [0, 2])[:12] == slots["queue_1_closed"]
    check = slots["crc32c_check"]
    assert crc32c(bytes.fromhex(check["data"])) == check["crc32c"]


def test_envelopes_and_special_shards_are_those_of_the_vectors() -> None:
    frames = load("frames.json")
    assert frames["special_shards"] == {
        "any": SHARD_ANY, "coordinator": SHARD_COORDINATOR, "router": SHARD_ROUTER
    }  # fmt: skip
    for one in frames["envelopes"]:
        packed = pack_envelope(
            one["router_epoch"], one["session"], one["frame_bytes"], one["principal"]
        )
        assert packed.hex() == one["hex"]


@named(load("frames.json")["malformed_routes"])
def test_what_is_no_route_frame_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(FrameError):
        unpack_route(bytes.fromhex(vector["hex"]))


def test_making_the_vectors_again_changes_nothing() -> None:
    command = [sys.executable, str(repo.ROOT / "scripts/protocol_vectors.py"), "--check"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
