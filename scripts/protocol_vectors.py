#!/usr/bin/env python
"""Writes tests/vectors/*.json: worked frames of the wire protocol, for any language to replay.

scripts/protocol_vectors.py            write the files
scripts/protocol_vectors.py --check    exit 1 if a file differs from what would be written

The values stand in `protocol_examples.py`. Each vector has the values and the bytes: decoding
`frames` gives the values, and, where `deterministic` is true, encoding the values gives the bytes.
Bytes are in hex. What a compressor makes depends on its version, so such vectors are read from the
file, not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
from protocol_examples import BATCHES, NOW_MS, batch_of, exchanges, plain_exchanges, record_of

from shardmq.actors.protocol.batch import BatchView, check_batch
from shardmq.actors.protocol.checksum import crc32c
from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.codes import CODE_ROWS, Code
from shardmq.actors.protocol.compress import Compression
from shardmq.actors.protocol.frames import (
    FLAG_JSON,
    MAGIC,
    ROUTE,
    SHARD_ANY,
    SHARD_COORDINATOR,
    SHARD_ROUTER,
    Route,
    pack_envelope,
    pack_request,
    unpack_route,
)
from shardmq.actors.protocol.replies import error_reply, ok_reply
from shardmq.actors.protocol.slots import slot_of, slots_moved, slots_spread
from shardmq.actors.protocol.verbs import VERB_ROWS, Verb

DIRECTORY = Path(__file__).resolve().parents[1] / "tests/vectors"


def vector(name: str, frames: list[bytes], header: Any, **more: Any) -> dict[str, Any]:
    """One request or reply: its route field by field, its header as JSON, and its frames."""
    route = unpack_route(frames[0])
    return {
        "name": name,
        **more,
        "deterministic": True,
        "route": route._asdict(),
        "header": header,
        "payload": [frame.hex() for frame in frames[2:]],
        "frames": [frame.hex() for frame in frames],
    }


def verb_vectors() -> list[dict[str, Any]]:
    msgpack, plain = exchanges(), plain_exchanges()
    found = []
    for row in VERB_ROWS:
        for encoding, flags in (("msgpack", 0), ("json", FLAG_JSON)):
            chosen = plain.get(row.verb, msgpack[row.verb]) if flags else msgpack[row.verb]
            shard, request, payload, reply, reply_payload = chosen
            request_id = 0x0102030405060708
            frame = pack_request(row.verb, request_id, 30_000, shard=shard, flags=flags)
            verb = row.verb.name
            for kind, header, frames in (
                ("request", request, [frame, encode_header(request, flags), *payload]),
                ("reply", reply, [*ok_reply(unpack_route(frame), reply), *reply_payload]),
            ):
                values = msgspec.to_builtins(header)
                name = f"{verb} {kind}, {encoding}"
                found.append(vector(name, frames, values, verb=verb, kind=kind, encoding=encoding))
    return found


def error_vectors() -> list[dict[str, Any]]:
    found = []
    for row in CODE_ROWS:
        if row.code is Code.OK:
            continue
        for encoding, flags in (("msgpack", 0), ("json", FLAG_JSON)):
            asked = Route(Verb.PRODUCE, flags, SHARD_ANY, 9, 1_000)
            wait_ms = 20 if row.code is Code.BUSY else 0
            shard = 1 if row.code is Code.MOVED else None
            frames = error_reply(asked, row.code, "why", retry_after_ms=wait_ms, shard=shard)
            decoder = msgspec.json if flags else msgspec.msgpack
            header = decoder.decode(frames[1])
            name = f"{row.code.name}, {encoding}"
            found.append(vector(name, frames, header, code=row.code.name, encoding=encoding))
    return found


def frame_vectors() -> dict[str, Any]:
    """Envelopes, special shard numbers, and what is no route frame."""
    good = pack_request(Verb.PING, 1, 1_000)
    return {
        "special_shards": {"any": SHARD_ANY, "coordinator": SHARD_COORDINATOR,
                           "router": SHARD_ROUTER},
        "envelopes": [
            {"router_epoch": 1, "session": 2, "frame_bytes": 300, "principal": principal,
             "hex": pack_envelope(1, 2, 300, principal).hex()} for principal in ("", "zoë")
        ],
        "malformed_routes": [
            {"name": "a byte short", "hex": good[:-1].hex()},
            {"name": "a byte long", "hex": (good + b"\0").hex()},
            {"name": "empty", "hex": ""},
            {"name": "another magic", "hex": (b"AMQ" + good[3:]).hex()},
            {"name": "another major version",
             "hex": ROUTE.pack(MAGIC, 2, 2, 0, SHARD_ANY, 1, 1_000).hex()},
        ],
    }  # fmt: skip


def batch_vectors(known: dict[str, str]) -> list[dict[str, Any]]:
    """`known` are the batches of the present file, by name."""
    found = []
    for name, (columns, compression) in BATCHES.items():
        deterministic = compression == Compression.NONE
        batch = batch_of(name) if deterministic else _kept(known.get(name), name)
        head = check_batch(batch)
        values = columns._replace(bodies=[])._asdict()
        values["bodies"] = [body.hex() for body in columns.bodies]
        found.append({
            "name": name, "deterministic": deterministic, "compression": int(compression),
            "header": head._asdict(), "columns": msgspec.to_builtins(values), "hex": batch.hex(),
            "record": {"queue": 12, "base_offset": 500, "stored_at_ms": NOW_MS + 7,
                       "hex": record_of(batch).hex()},
        })  # fmt: skip
    return found


def _kept(known: str | None, name: str) -> bytes:
    """The bytes of the present file if they still hold the example, else made anew."""
    if known is not None:
        batch = bytes.fromhex(known)
        if BatchView(batch, check_batch(batch)).bodies() == BATCHES[name][0].bodies:
            return batch
    return batch_of(name)


def slot_vectors() -> dict[str, Any]:
    keys = ["", "a", "order-1", "N14228", "ключ", "🛫", "x" * 1_024]
    three = slots_spread([0, 1, 2])
    return {
        "keys": [
            {"key": key, "crc32c": crc32c(key.encode()), "slot": slot_of(key)} for key in keys
        ],
        "three_queues": three[:12],
        "queue_1_closed": slots_moved(three, [0, 2])[:12],
        "crc32c_check": {"data": b"123456789".hex(), "crc32c": crc32c(b"123456789")},
    }


def files() -> dict[str, str]:
    """Text of each file, by its name."""
    path = DIRECTORY / "batches.json"
    present = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    known = {one["name"]: one["hex"] for one in present}
    vectors: dict[str, Any] = {
        "verbs.json": verb_vectors(),
        "errors.json": error_vectors(),
        "frames.json": frame_vectors(),
        "batches.json": batch_vectors(known),
        "slots.json": slot_vectors(),
    }
    return {
        name: json.dumps(value, indent=1, ensure_ascii=False) + "\n"
        for name, value in vectors.items()
    }


def main() -> None:
    """Writes or checks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args().check
    for name, text in files().items():
        path = DIRECTORY / name
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path} is out of date: run scripts/protocol_vectors.py")


if __name__ == "__main__":
    main()
