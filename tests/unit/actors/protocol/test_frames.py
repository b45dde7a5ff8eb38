"""Frames: the route and the envelope, byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import (
    ENVELOPE,
    FLAG_JSON,
    FLAG_REPLY,
    SHARD_ANY,
    FrameError,
    Route,
    pack_envelope,
    pack_reply,
    pack_request,
    unpack_route,
)

U16 = st.integers(0, (1 << 16) - 1)
U32 = st.integers(0, (1 << 32) - 1)
U64 = st.integers(0, (1 << 64) - 1)


def test_a_request_looks_as_the_document_draws_it() -> None:
    frame = pack_request(20, 0x1122334455667788, 30_000, shard=3, flags=FLAG_JSON)
    assert (
        frame.hex(" ") == "53 4d 51 01 14 00 02 00 03 00 00 00 88 77 66 55 44 33 22 11 30 75 00 00"
    )


def test_a_reply_echoes_all_but_the_tail_and_carries_the_code() -> None:
    request = Route(21, FLAG_JSON, SHARD_ANY, 7, 500)
    reply = unpack_route(pack_reply(request, Code.BUSY))
    assert reply == request._replace(flags=FLAG_JSON | FLAG_REPLY, tail=503)


@given(U16, U16, U32, U64, U32)
def test_what_is_packed_is_unpacked(
    verb: int, flags: int, shard: int, request_id: int, tail: int
) -> None:
    frame = pack_request(verb, request_id, tail, shard=shard, flags=flags)
    assert unpack_route(frame) == (verb, flags, shard, request_id, tail)


@pytest.mark.parametrize("size", [0, 1, 23, 25, 1_000])
def test_a_frame_of_another_size_is_no_route(size: int) -> None:
    with pytest.raises(FrameError, match=f"this one has {size}"):
        unpack_route((pack_request(1, 1, 1) + bytes(1_000))[:size])


def test_another_magic_or_major_version_is_refused() -> None:
    frame = pack_request(1, 1, 1)
    with pytest.raises(FrameError, match="starts with 'SMQ'"):
        unpack_route(b"X" + frame[1:])
    with pytest.raises(FrameError, match="version 2 is not spoken here"):
        unpack_route(frame[:3] + b"\x02" + frame[4:])


def test_an_envelope_names_the_session_and_its_principal() -> None:
    envelope = pack_envelope(5, 6, 7, "zoë")
    assert ENVELOPE.unpack_from(envelope) == (5, 6, 7, 0)
    assert envelope[ENVELOPE.size :].decode() == "zoë"
