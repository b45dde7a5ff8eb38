"""Replies: results and refusals as frames."""

from __future__ import annotations

import msgspec

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_JSON, FLAG_REPLY, Route, unpack_route
from shardmq.actors.protocol.limits import FRAME_BYTES_MAX, HEADER_BYTES_MAX
from shardmq.actors.protocol.messages import ErrorReply, Pong
from shardmq.actors.protocol.replies import error_reply, ok_reply

REQUEST = Route(2, 0, 7, 99, 1_000)


def test_a_result_echoes_the_request_and_says_ok() -> None:
    route, header = ok_reply(REQUEST, Pong(state="stopping"))
    assert unpack_route(route) == Route(2, FLAG_REPLY, 7, 99, Code.OK)
    assert msgspec.msgpack.decode(header) == {"state": "stopping"}


def test_a_refusal_says_what_it_means_and_what_to_do() -> None:
    route, header = error_reply(REQUEST, Code.BUSY, "too much in flight", retry_after_ms=20)
    assert unpack_route(route).tail == Code.BUSY
    error = msgspec.msgpack.decode(header, type=ErrorReply)
    assert (error.name, error.retryable, error.retry_after_ms) == ("BUSY", True, 20)
    assert error.hint
    assert error.shard is None


def test_a_json_request_is_refused_in_json() -> None:
    request = REQUEST._replace(flags=FLAG_JSON)
    route, header = error_reply(request, Code.MOVED, "it lives elsewhere", shard=3)
    assert unpack_route(route).flags == FLAG_JSON | FLAG_REPLY
    assert msgspec.json.decode(header)["shard"] == 3


def test_a_reply_that_no_frame_can_hold_is_refused_before_it_breaks_the_link() -> None:
    for flags, bytes_max in ((0, HEADER_BYTES_MAX), (FLAG_JSON, FRAME_BYTES_MAX)):
        request = REQUEST._replace(flags=flags)
        route, _ = ok_reply(request, Pong(state="x" * (bytes_max - 100)))
        assert unpack_route(route).tail == Code.OK
        route, header = ok_reply(request, Pong(state="x" * bytes_max))
        assert unpack_route(route).tail == Code.TOO_LARGE
        assert len(header) < 1_000
