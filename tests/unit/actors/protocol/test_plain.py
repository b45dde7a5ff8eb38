"""Plain messages: JSON clients' messages to columns and back."""

from __future__ import annotations

import base64

import pytest

from shardmq.actors.protocol.batch import BatchView, Columns, check_batch, encode_batch
from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_JSON
from shardmq.actors.protocol.limits import BODY_BYTES_MAX, FRAME_BYTES_MAX, KEYS_MAX
from shardmq.actors.protocol.messages import PlainMessage
from shardmq.actors.protocol.plain import PlainError, columns_of, plain_messages


def view_of(columns: Columns) -> BatchView:
    frame = encode_batch(
        columns, producer_id=1, first_sequence=10, first_born_ms=77, last_born_ms=88
    )
    return BatchView(frame, check_batch(frame))


FULL = PlainMessage(
    body="grüße", tag="t", keys=["k1", "k2"], ordering_key="o", properties={"p": "v"}
)


def test_a_message_comes_back_as_it_went() -> None:
    found = plain_messages(view_of(columns_of([FULL, PlainMessage(body="2")])), 500, 99)
    assert [(one.body, one.tag, one.keys, one.ordering_key, one.properties) for one in found] == [
        ("grüße", "t", ["k1", "k2"], "o", {"p": "v"}), ("2", None, [], None, {})
    ]  # fmt: skip
    assert [(one.offset, one.message_id) for one in found] == [
        (500, f"{1:016x}{10:016x}"), (501, f"{1:016x}{11:016x}")
    ]  # fmt: skip
    assert {(one.born_at_ms, one.stored_at_ms) for one in found} == {(77, 99)}


def test_columns_that_nobody_uses_are_left_out() -> None:
    assert columns_of([PlainMessage(body="a"), PlainMessage(body="b")]) == Columns([b"a", b"b"])


def test_bytes_that_are_no_text_travel_as_base64() -> None:
    given = PlainMessage(body_base64=base64.b64encode(b"\xff\x00").decode())
    columns = columns_of([given])
    assert columns.bodies == [b"\xff\x00"]
    assert plain_messages(view_of(columns), 0, 0)[0].body_base64 == given.body_base64


def test_copies_keep_their_ids_and_offsets() -> None:
    view = view_of(Columns([b"a", b"b"], message_ids=["x", "y"], offset_deltas=[0, 5]))
    found = plain_messages(view, 100, 0)
    assert [(one.message_id, one.offset) for one in found] == [("x", 100), ("y", 105)]


def test_messages_start_at_the_offset_that_was_asked_for() -> None:
    found = plain_messages(view_of(Columns([b"a", b"b", b"c"])), 100, 0, from_offset=101)
    assert [one.body for one in found] == ["b", "c"]


def test_messages_end_where_their_json_exceeds_the_bound_but_one_always_goes() -> None:
    view = view_of(Columns([b"x" * 1_000] * 10))
    found = plain_messages(view, 0, 0, bytes_max=3_500)
    assert len(found) == 3
    assert sum(len(encode_header(one, FLAG_JSON)) for one in found) <= 3_500
    assert len(plain_messages(view, 0, 0, bytes_max=1)) == 1


@pytest.mark.parametrize("fill", [b"\x00", b'"', b"a", "é".encode(), b"\xff"])
def test_the_largest_body_fits_a_frame_whatever_is_in_it(fill: bytes) -> None:
    body = fill * (BODY_BYTES_MAX // len(fill))
    (message,) = plain_messages(view_of(Columns([body])), 0, 0)
    assert len(encode_header(message, FLAG_JSON)) < FRAME_BYTES_MAX
    assert (message.body is None) == (fill in b'\x00"\xff')


FAULTS: list[tuple[str, PlainMessage, Code]] = [
    ("no body", PlainMessage(), Code.INVALID_ARGUMENT),
    ("two bodies", PlainMessage(body="a", body_base64="YQ=="), Code.INVALID_ARGUMENT),
    ("an empty body", PlainMessage(body=""), Code.INVALID_ARGUMENT),
    ("an empty body in base64", PlainMessage(body_base64=""), Code.INVALID_ARGUMENT),
    ("no base64", PlainMessage(body_base64="a"), Code.INVALID_ARGUMENT),
    ("base64 with blanks", PlainMessage(body_base64="YQ ="), Code.INVALID_ARGUMENT),
    ("base64 that is not ASCII", PlainMessage(body_base64="é==="), Code.INVALID_ARGUMENT),
    ("a lone surrogate", PlainMessage(body="\ud800"), Code.INVALID_ARGUMENT),
    ("an empty tag", PlainMessage(body="a", tag=""), Code.INVALID_ARGUMENT),
    ("too many keys", PlainMessage(body="a", keys=["k"] * (KEYS_MAX + 1)), Code.TOO_LARGE),
    ("a body too long", PlainMessage(body="é" * (BODY_BYTES_MAX // 2 + 1)), Code.TOO_LARGE),
]


@pytest.mark.parametrize(
    ("message", "code"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS]
)
def test_a_message_that_cannot_be_stored_names_its_fault(message: PlainMessage, code: Code) -> None:
    with pytest.raises(PlainError) as caught:
        columns_of([PlainMessage(body="sound"), message])
    assert caught.value.fault.code == code
    assert str(caught.value) == caught.value.fault.message
