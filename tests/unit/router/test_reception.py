"""Reception: the words of what a router answers by itself."""

from __future__ import annotations

import msgspec

from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import SHARD_ROUTER, Route, pack_request, unpack_route
from shardmq.actors.protocol.verbs import Verb
from shardmq.router.reception import Identity, Reception
from shardmq.router.sessions import Sessions
from support.manual import CountingRandomness

HELLO = Route(Verb.HELLO, 0, 0, 1, 1_000)


def reception(sessions_max: int = 10) -> Reception:
    sessions = Sessions(CountingRandomness(), sessions_max=sessions_max)
    return Reception(Identity("router-3", "1.2", 44), sessions, epoch=5, shards=2)


def test_sound_frames_have_no_fault() -> None:
    asked, code, text = reception().fault_of([pack_request(Verb.PING, 3, 10), b""])
    assert asked is not None
    assert (asked.request_id, code, text) == (3, None, "")


def test_a_frame_that_is_no_route_cannot_be_answered() -> None:
    asked, code, text = reception().fault_of([b"GET / HTTP/1.1"])
    assert (asked, code) == (None, None)
    assert "24 bytes" in text


def test_hello_says_which_version_and_how_many_shards() -> None:
    _, peer, (_, header) = reception().hello(b"p", encode_header(m.Hello()), HELLO, 0.0)
    welcome = msgspec.msgpack.decode(header, type=m.Welcome)
    assert (peer, welcome.broker, welcome.shards, welcome.router_epoch) == (
        b"p",
        "1.2",
        2,
        f"{5:016x}",
    )


def test_a_full_house_says_when_to_come_again() -> None:
    desk = reception(sessions_max=1)
    desk.hello(b"p", encode_header(m.Hello()), HELLO, 0.0)
    _, _, (route, header) = desk.hello(b"q", encode_header(m.Hello()), HELLO, 0.0)
    assert unpack_route(route).tail == Code.BUSY
    assert msgspec.msgpack.decode(header, type=m.ErrorReply).retry_after_ms > 0


def test_figures_of_core_and_process_come_together() -> None:
    desk = reception()
    desk.loop_figures = lambda: {"rss_bytes": 1}
    asked = Route(Verb.STATS, 0, SHARD_ROUTER, 1, 10)
    _, _, (_, header) = desk.stats(b"p", asked, {"sessions": 2})
    reply = msgspec.msgpack.decode(header, type=m.StatsReply)
    assert (reply.actor, reply.pid) == ("router-3", 44)
    assert reply.figures == {"rss_bytes": 1, "sessions": 2}
