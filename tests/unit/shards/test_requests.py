"""Requests: from a letter to a request, and back to a letter for whoever asked."""

from __future__ import annotations

import msgspec
import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FrameError, pack_request, unpack_route
from shardmq.actors.protocol.messages import DefineReply, ErrorReply
from shardmq.shards.requests import read_request
from support.shards import ShardUnderTest

ROUTE = pack_request(40, 77, 1_000)


def test_the_answer_goes_back_the_way_the_request_came() -> None:
    request = read_request(("mailbox", b"peer", [b"envelope", ROUTE, b"header", b"payload"]))
    assert (request.header, request.payload) == (b"header", [b"payload"])
    link, peer, frames = request.answer(DefineReply(queues=3), [b"p1", b"p2"])
    assert (link, peer, frames[0], frames[3:]) == ("mailbox", b"peer", b"envelope", [b"p1", b"p2"])
    assert unpack_route(frames[1]).request_id == 77


def test_a_refusal_names_code_hint_and_when_to_come_again() -> None:
    request = read_request(("mailbox", b"peer", [b"envelope", ROUTE]))
    _, _, frames = request.refuse(Code.BUSY, "full", retry_after_ms=20)
    assert unpack_route(frames[1]).tail == Code.BUSY
    refusal = msgspec.msgpack.decode(frames[2], type=ErrorReply)
    assert (refusal.name, refusal.retryable, refusal.retry_after_ms) == ("BUSY", True, 20)


@pytest.mark.parametrize("frames", [[], [b"e"], [b"e", b""], [b"e", b"x" * 24]])
def test_frames_without_a_route_are_no_request(frames: list[bytes]) -> None:
    with pytest.raises(FrameError):
        read_request(("mailbox", b"peer", frames))


def test_a_shard_drops_and_counts_what_it_cannot_answer() -> None:
    shard = ShardUnderTest()
    assert shard.turn([("mailbox", b"router", [b"e", b"x"])]) == []
    assert shard.core.stats()["requests_dropped"] == 1
