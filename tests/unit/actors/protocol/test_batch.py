"""The record batch: what goes in comes out, and nothing that contradicts itself does."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardmq.actors.protocol.batch import (
    BATCH_HEADER_BYTES,
    FLAG_COPIES,
    BatchError,
    BatchView,
    Columns,
    batch_crc,
    check_batch,
    encode_batch,
    message_id,
    read_batch_header,
)
from shardmq.actors.protocol.compress import Compression, compress
from shardmq.actors.protocol.limits import (
    BATCH_BYTES_MAX,
    BATCH_MESSAGES_MAX,
    META_BYTES_MAX,
    SEQUENCE_MAX,
)


def batch(columns: Columns, *, compression: int = 0, producer_id: int = 7, first: int = 5) -> bytes:
    return encode_batch(
        columns, producer_id=producer_id, first_sequence=first, first_born_ms=1_000,
        last_born_ms=2_000, compression=compression,
    )  # fmt: skip


def opened(frame: bytes) -> BatchView:
    return BatchView(frame, check_batch(frame))


def sealed(frame: bytes) -> bytes:
    """`frame` with the checksum that it should carry."""
    return frame[:8] + batch_crc(frame).to_bytes(4, "little") + frame[12:]


def patched(frame: bytes, offset: int, form: str, value: int) -> bytes:
    changed = bytearray(frame)
    struct.pack_into(f"<{form}", changed, offset, value)
    return sealed(bytes(changed))


def forged(meta: Any, bodies: bytes, count: int, flags: int = 0) -> bytes:
    """A batch as only a hostile producer makes it: any meta, with a sound checksum."""
    packed = meta if isinstance(meta, bytes) else msgspec.msgpack.encode(meta)
    length = BATCH_HEADER_BYTES + len(packed) + len(bodies)
    head = struct.pack(
        "<4sIIBBBBIIQQqqII", b"SMQB", length, 0, 1, 0, 0, flags, count, len(packed), 1, 0, 0, 0,
        len(bodies), 0,
    )  # fmt: skip
    return sealed(head + packed + bodies)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def columns(draw: st.DrawFn) -> Columns:
    bodies = draw(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=20))
    count = len(bodies)

    def maybe(row: st.SearchStrategy[Any]) -> Any:
        return draw(st.none() | st.lists(row, min_size=count, max_size=count))

    gaps = draw(st.none() | st.lists(st.integers(1, 9), min_size=count, max_size=count))
    return Columns(
        bodies, maybe(st.none() | TEXT), maybe(st.lists(TEXT, max_size=3)),
        maybe(st.none() | TEXT), maybe(st.dictionaries(TEXT, TEXT, max_size=3)),
        maybe(st.integers(0, 1 << 60)), maybe(TEXT),
        gaps and [sum(gaps[: at + 1]) for at in range(count)],
        maybe(st.tuples(st.integers(0, 1 << 60), st.integers(0, 1 << 60), st.integers(0, 99))),
    )  # fmt: skip


@given(columns(), st.sampled_from(Compression))
def test_what_is_encoded_is_read(given_columns: Columns, codec: Compression) -> None:
    view = opened(batch(given_columns, compression=codec))
    read = (view.bodies(), view.tags(), view.keys(), view.ordering_keys(), view.properties(),
            view.due_times_ms(), view.message_ids(), view.offset_deltas(),
            view.entries())  # fmt: skip
    assert read == given_columns
    names = view.tag_names()
    assert names is None or set(names) == set(given_columns.tags or ())


def test_the_smallest_batch_looks_as_the_document_draws_it() -> None:
    assert batch(Columns([b"hello"])).hex() == (
        "534d5142" "47000000" "82471efd" "01000000" "01000000" "02000000"
        "0700000000000000" "0500000000000000" "e803000000000000" "d007000000000000"
        "05000000" "00000000" "9105" "68656c6c6f"
    )  # fmt: skip


def test_the_header_says_what_was_encoded() -> None:
    head = check_batch(batch(Columns([b"abc"] * 4), producer_id=(1 << 64) - 1, first=9))
    assert (head.count, head.producer_id, head.first_sequence) == (4, (1 << 64) - 1, 9)
    assert (head.first_born_ms, head.last_born_ms) == (1_000, 2_000)
    assert (head.bodies_raw_bytes, head.flags, head.meta_codec, head.bodies_codec) == (12, 0, 0, 0)


def test_a_batch_is_read_where_it_stands_in_a_longer_frame() -> None:
    frame = b"prefix" + batch(Columns([b"a", b"bc"], tags=["t", None])) + b"behind"
    view = BatchView(frame, read_batch_header(frame, 6), 6)
    assert (view.bodies(), view.tags()) == ([b"a", b"bc"], ["t", None])


def test_times_before_the_epoch_and_running_backwards_are_carried_as_they_are() -> None:
    frame = encode_batch(
        Columns([b"x"]), producer_id=0, first_sequence=0, first_born_ms=-5, last_born_ms=-9
    )
    assert check_batch(frame)[-3:-1] == (-5, -9)


def test_a_message_id_is_producer_and_sequence_in_hex() -> None:
    assert message_id((1 << 64) - 1, 255) == "f" * 16 + "00000000000000ff"


def test_compression_is_kept_only_where_it_makes_smaller() -> None:
    head = check_batch(batch(Columns([b"x"]), compression=Compression.ZSTD))
    assert (head.meta_codec, head.bodies_codec) == (0, 0)
    mixed = Columns([bytes(50), *[b"y" * 100] * 9])
    assert check_batch(batch(mixed, compression=Compression.ZSTD)).bodies_codec == Compression.ZSTD


def test_a_flipped_bit_anywhere_is_noticed() -> None:
    frame = batch(Columns([b"a", b"bc"], tags=["t", None]))
    for bit in range(8 * len(frame)):
        flipped = bytearray(frame)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BatchError):
            check_batch(bytes(flipped))


def test_every_cut_and_a_byte_too_many_are_noticed() -> None:
    frame = batch(Columns([b"a", b"bc"]))
    for size in [*range(len(frame)), len(frame) + 1]:
        with pytest.raises(BatchError):
            check_batch((frame + b"x")[:size])


HEADERS: list[tuple[str, int, str, int, str]] = [
    ("another magic", 0, "I", 1, "SMQB"),
    ("version 0", 12, "B", 0, "version"),
    ("version 2", 12, "B", 2, "version"),
    ("an unknown codec of meta", 13, "B", 3, "codecs"),
    ("an unknown codec of bodies", 14, "B", 255, "codecs"),
    ("an unknown flag", 15, "B", 2, "flags"),
    ("no message", 16, "I", 0, "messages"),
    ("too many messages", 16, "I", BATCH_MESSAGES_MAX + 1, "messages"),
    ("more messages than bytes", 16, "I", 4, "bodies"),
    ("meta longer than the batch", 20, "I", 1_000, "meta"),
    ("meta of 4 GiB", 20, "I", 0xFFFFFFFF, "meta"),
    ("the last sequence at 2^63", 32, "Q", SEQUENCE_MAX, "sequences"),
    ("a sequence of 2^64 - 1", 32, "Q", (1 << 64) - 1, "sequences"),
    ("bodies of 4 GiB", 56, "I", 0xFFFFFFFF, "bodies"),
    ("no bodies", 56, "I", 0, "bodies"),
    ("a length of 4 GiB", 4, "I", 0xFFFFFFFF, "length"),
    ("a length below the header's", 4, "I", 63, "length"),
]


@pytest.mark.parametrize(
    ("offset", "form", "value", "reason"), [row[1:] for row in HEADERS],
    ids=[row[0] for row in HEADERS],
)  # fmt: skip
def test_a_header_that_contradicts_itself_or_a_limit_is_refused(
    offset: int, form: str, value: int, reason: str
) -> None:
    frame = patched(batch(Columns([b"a", b"bc"])), offset, form, value)
    with pytest.raises(BatchError, match=reason):
        read_batch_header(frame)


def test_the_highest_sequence_is_accepted_and_one_more_is_not() -> None:
    frame = batch(Columns([b"a", b"b"]), first=SEQUENCE_MAX - 2)
    assert check_batch(frame).first_sequence == SEQUENCE_MAX - 2
    with pytest.raises(AssertionError):
        batch(Columns([b"a", b"b"]), first=SEQUENCE_MAX - 1)


LENGTHS: list[tuple[str, Any]] = [
    ("none", None), ("no columns at all", "absent"), ("zero", 0), ("negative", -2),
    ("one that does not divide", 3), ("of 2^64 - 1", (1 << 64) - 1), ("too few", [4]),
    ("too many", [2, 1, 1]), ("that sum up short", [1, 2]), ("with an empty body", [4, 0]),
    ("with a negative one", [5, -1]), ("of which one is huge", [4, (1 << 64) - 1]), ("true", True),
    ("a float", 2.0), ("text", "2"),
]  # fmt: skip


@pytest.mark.parametrize("value", [row[1] for row in LENGTHS], ids=[row[0] for row in LENGTHS])
def test_body_lengths_that_do_not_add_up_are_refused(value: Any) -> None:
    meta = [] if value == "absent" else [value]
    with pytest.raises(BatchError):
        opened(forged(meta, b"abcd", 2)).bodies()


def test_a_view_is_never_longer_than_its_frame() -> None:
    frame = batch(Columns([b"abc"] * 10))
    with pytest.raises(BatchError, match="declares"):
        BatchView(frame[:-1], read_batch_header(frame))
    with pytest.raises(BatchError, match="declares"):
        BatchView(frame, read_batch_header(frame), 1)


TAGS: list[tuple[str, Any]] = [
    ("an index without a name", [["a"], b"\x00\x01"]),
    ("too few indexes", [["a"], b"\x00"]),
    ("indexes between one and two wide", [["a"], b"\x00\x00\x00"]),
    ("indexes three wide", [["a"], b"\x00" * 6]),
    ("no index", [["a"], b""]),
    ("a wide index without a name", [["a"], b"\x00\x00\x00\x01"]),
]


@pytest.mark.parametrize("value", [row[1] for row in TAGS], ids=[row[0] for row in TAGS])
def test_tag_indexes_that_do_not_fit_are_refused(value: Any) -> None:
    with pytest.raises(BatchError):
        opened(forged([1, value], b"ab", 2)).tags()


def test_the_width_of_tag_indexes_is_never_ambiguous() -> None:
    for count in (1, 2, 256, 257, 512):
        tags: Sequence[str] = [f"{at}" for at in range(count)]
        assert opened(batch(Columns([b"x"] * count, tags=tags))).tags() == tags
    wide_for_two_names = [["a", "b"], b"\x01\x00\x00\x00"]
    assert opened(forged([1, wide_for_two_names], b"xy", 2)).tags() == ["b", "a"]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_column_with_another_number_of_rows_is_refused(rows: int) -> None:
    meta = [1, None, [[]] * rows, [None] * rows, [{}] * rows, [0] * rows, [""] * rows,
            list(range(rows))]  # fmt: skip
    view = opened(forged(meta, b"ab", 2, FLAG_COPIES))
    for column in (view.keys, view.ordering_keys, view.properties, view.due_times_ms,
                   view.message_ids, view.offset_deltas):  # fmt: skip
        with pytest.raises(BatchError, match=f"{rows} rows for 2"):
            column()


def test_ids_and_deltas_count_only_in_batches_of_copies() -> None:
    meta = [1, None, None, None, None, None, ["stolen", "ids"], [1_000, 2_000]]
    view = opened(forged(meta, b"ab", 2))
    assert (view.message_ids(), view.offset_deltas()) == (None, None)
    assert opened(forged(meta, b"ab", 2, FLAG_COPIES)).offset_deltas() == [1_000, 2_000]
    assert check_batch(batch(Columns([b"a"], message_ids=["m"]))).flags == FLAG_COPIES
    assert check_batch(batch(Columns([b"a"], offset_deltas=[3]))).flags == FLAG_COPIES


@pytest.mark.parametrize("deltas", [[1, 1], [2, 1], [-1, 0]])
def test_offset_deltas_ascend(deltas: list[int]) -> None:
    meta = [1, None, None, None, None, None, None, deltas]
    with pytest.raises(BatchError):
        opened(forged(meta, b"ab", 2, FLAG_COPIES)).offset_deltas()


def test_columns_of_a_later_version_are_skipped() -> None:
    meta = [2, *[None] * 7, {"later": [1, 2, 3]}, b"more"]
    assert opened(forged(meta, b"abcd", 2)).bodies() == [b"ab", b"cd"]


META: list[tuple[str, bytes]] = [
    ("empty", b""), ("no array", b"\x01"), ("cut off", b"\x92\x01"), ("deep", b"\x91" * 100_000),
    ("an array of 4 G", b"\xdd\xff\xff\xff\xff"), ("bytes behind", b"\x91\x01\x00"),
    ("a million columns", b"\xdd\x00\x0f\x00\x00" + b"\xc0" * 0x0F0000),
    ("deep in a column", b"\x92\x01" + b"\x91" * 100_000),
    ("a list of 4 G", b"\x93\x01\xc0\xdd\xff\xff\xff\xff"),
]  # fmt: skip


@pytest.mark.parametrize("meta", [row[1] for row in META], ids=[row[0] for row in META])
def test_malformed_meta_is_a_batch_error(meta: bytes) -> None:
    view = opened(forged(meta, b"ab", 2))
    with pytest.raises(BatchError):
        view.bodies()
    with pytest.raises(BatchError):
        view.keys()


def test_bodies_that_open_to_another_length_are_refused() -> None:
    frame = batch(Columns([bytes(100)] * 10), compression=Compression.ZSTD)
    for raw_bytes in (999, 1_001, BATCH_BYTES_MAX):
        changed = patched(frame, 56, "I", raw_bytes)
        with pytest.raises(BatchError):
            opened(changed).bodies()


def test_a_meta_bomb_opens_to_no_more_than_the_limit() -> None:
    packed = compress(Compression.ZSTD, b"\xdd\x00\x80\x00\x00" + b"\xc0" * (META_BYTES_MAX + 1))
    frame = patched(forged(packed, b"ab", 2), 13, "B", Compression.ZSTD)
    with pytest.raises(BatchError, match="more than"):
        opened(frame).tags()


def test_what_exceeds_a_batch_is_refused_by_its_encoder() -> None:
    with pytest.raises(BatchError, match="messages"):
        batch(Columns([b"x"] * (BATCH_MESSAGES_MAX + 1)))
    with pytest.raises(BatchError, match="bytes"):
        batch(Columns([bytes(BATCH_BYTES_MAX)]))
    with pytest.raises(BatchError, match="meta"):
        batch(Columns([b"x"] * 5, tags=[f"{at}" * 1_000_000 for at in range(5)]))


def test_a_batch_at_its_limits_is_encoded_and_read() -> None:
    full = Columns([b"x"] * BATCH_MESSAGES_MAX, tags=[f"{at:x}" for at in range(1 << 16)])
    view = opened(batch(full))
    assert len(view.bodies()) == BATCH_MESSAGES_MAX
    assert view.tags() == full.tags
