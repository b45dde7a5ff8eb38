"""Hostile frames: routes and headers of every verb, in both encodings."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardmq.actors.protocol.codec import HeaderError, decode_header, encode_header
from shardmq.actors.protocol.frames import FLAG_JSON, FrameError, Route, pack_request, unpack_route
from shardmq.actors.protocol.limits import HEADER_BYTES_MAX
from shardmq.actors.protocol.messages import ErrorReply, Header
from shardmq.actors.protocol.verbs import VERB_ROWS
from support import repo
from support.fuzzing import INTERESTING, VALUES, bounded, examples, mutated

KINDS: dict[str, type[Header]] = {
    kind.__name__: kind
    for row in VERB_ROWS
    for kind in (row.request, row.reply, ErrorReply)
}  # fmt: skip
VECTORS = json.loads((repo.ROOT / "tests/vectors/verbs.json").read_text(encoding="utf-8"))
SEEDS = [
    (bytes.fromhex(one["frames"][1]), FLAG_JSON if one["encoding"] == "json" else 0)
    for one in VECTORS
]
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


def decoded(frame: bytes, kind: type[Header], flags: int) -> None:
    """Decodes; only HeaderError may come out. What decodes is encoded and read the same again."""
    try:
        header = decode_header(frame, kind, flags)
    except HeaderError as error:
        str(error).encode()  # it goes into a reply
        return
    again = encode_header(header, flags)
    # A float that is no number equals nothing, not even itself; it may stand in STATS figures.
    assert encode_header(decode_header(again, kind, flags), flags) == again


@examples(300)
@given(st.one_of(st.binary(max_size=30), st.binary(min_size=24, max_size=24),
                 mutated(pack_request(20, 7, 1_000))))  # fmt: skip
def test_a_route_is_five_numbers_or_a_frame_error(frame: bytes) -> None:
    try:
        route = unpack_route(frame)
    except FrameError:
        return
    assert isinstance(route, Route)
    assert all(value >= 0 for value in route)


@kinds
@examples(20)
@given(st.data())
def test_bytes_of_any_kind_as_a_header(kind: type[Header], data: st.DataObject) -> None:
    frame = data.draw(st.one_of(st.binary(max_size=60), st.lists(INTERESTING).map(b"".join)))
    decoded(frame, kind, data.draw(st.sampled_from([0, FLAG_JSON])))


@kinds
@examples(30)
@given(st.data())
def test_a_sound_header_with_some_bytes_changed(kind: type[Header], data: st.DataObject) -> None:
    seed, flags = data.draw(st.sampled_from(SEEDS))
    decoded(data.draw(mutated(seed)), kind, flags)


@kinds
@examples(30)
@given(st.data())
def test_values_of_wrong_types_under_the_right_keys(
    kind: type[Header], data: st.DataObject
) -> None:
    names = [*kind.__struct_fields__, "unknown"]
    rows = data.draw(st.dictionaries(st.sampled_from(names), VALUES, max_size=5))
    flags = data.draw(st.sampled_from([0, FLAG_JSON]))
    decoded(_as_bytes(rows, flags), kind, flags)


def _as_bytes(value: Any, flags: int) -> bytes:
    if flags & FLAG_JSON:
        # The standard library writes NaN and lone surrogates, which a hostile client may, too.
        return json.dumps(value, default=lambda raw: raw.decode("latin-1")).encode()
    try:
        return msgspec.msgpack.encode(value)
    except (OverflowError, UnicodeEncodeError):
        return msgspec.msgpack.encode(repr(value).encode("utf-8", "surrogatepass"))


SMALLEST = [
    b"\x80", b"\x90", b"\xa0", b"\xa1a", b"\xa2ab", b"\xc0", b"\x00", b"\xcd\x01\x00",
    b"\x81\xa5queue\x00", b"\x82\xa5queue\x00\xa6offset\x00", b"\x81\xa5topic\xa1t",
    b"\x83\xa8queue_id\x00\xa6number\x00\xa5shard\x00",
]  # fmt: skip
"""Elements of few bytes that could make large objects."""


@kinds
@pytest.mark.parametrize("element", SMALLEST, ids=[one.hex() for one in SMALLEST])
def test_a_header_full_of_the_smallest_elements_stays_within_its_memory(
    kind: type[Header], element: bytes
) -> None:
    for name in kind.__struct_fields__:
        prefix = b"\x81" + msgspec.msgpack.encode(name)
        count = (HEADER_BYTES_MAX - len(prefix) - 5) // len(element)
        frame = prefix + b"\xdd" + count.to_bytes(4, "big") + element * count
        with bounded(memory_bytes=80 << 20):
            decoded(frame, kind, 0)


@kinds
@pytest.mark.parametrize("element", [b"{}", b"[]", b'""', b"0", b'{"queue":0}'])
def test_a_json_header_full_of_the_smallest_elements_stays_within_its_memory(
    kind: type[Header], element: bytes
) -> None:
    for name in kind.__struct_fields__:
        count = (HEADER_BYTES_MAX - len(name) - 10) // (len(element) + 1)
        frame = b'{"%s":[%s]}' % (name.encode(), b",".join([element] * count))
        with bounded(memory_bytes=100 << 20):  # JSON says only at its end how long a list is
            decoded(frame, kind, FLAG_JSON)


DEEP = {
    "msgpack arrays": (b"\x91" * (HEADER_BYTES_MAX - 1) + b"\xc0", 0),
    "msgpack maps": (b"\x81\xa1a" * (HEADER_BYTES_MAX // 3), 0),
    "arrays under an unknown key": (b"\x81\xa1a" + b"\x91" * (HEADER_BYTES_MAX - 3), 0),
    "JSON arrays": (b"[" * HEADER_BYTES_MAX, FLAG_JSON),
    "JSON maps": (b'{"a":' * (HEADER_BYTES_MAX // 5), FLAG_JSON),
    "an unfinished number": (b'{"minor":' + b"1" * (HEADER_BYTES_MAX - 9), FLAG_JSON),
    "one escape after another": (b'{"client":"' + b"\\u0041" * 170_000 + b'"}', FLAG_JSON),
    "one unknown key after another": (
        b"{" + b",".join(b'"k%d":0' % at for at in range(90_000)) + b"}", FLAG_JSON
    ),
}  # fmt: skip


@kinds
@pytest.mark.parametrize(("frame", "flags"), DEEP.values(), ids=list(DEEP))
def test_a_header_of_full_size_with_one_idea_stays_within_its_memory(
    kind: type[Header], frame: bytes, flags: int
) -> None:
    with bounded(memory_bytes=16 << 20, seconds=2.0):
        decoded(frame, kind, flags)
