"""Inboxes on real sockets: bounds, the overflow answer, and what survives malformed messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import zmq

from shardmq.actors.kernel.mailbox import (
    LETTER_BYTES_MAX,
    LETTER_FRAMES_MAX,
    TURN_BYTES_MAX,
    TURN_MESSAGES_MAX,
    Inbox,
)
from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_JSON, pack_request, unpack_route
from shardmq.actors.protocol.limits import MIB
from shardmq.actors.protocol.messages import ErrorReply
from shardmq.actors.protocol.verbs import Verb

ROUTE = pack_request(Verb.PRODUCE, 7, 1_000)
ENVELOPE = b"e" * 24
HEADER = b"\x80"


class Pair(NamedTuple):
    """An inbox, and the peer that fills it."""

    peer: zmq.Socket[bytes]
    inbox: Inbox

    def send(self, *frames: bytes) -> None:
        self.peer.send_multipart(frames, copy=False)

    def drain(self) -> tuple[list[Letter], list[Letter], bool]:
        letters: list[Letter] = []
        calls: list[Letter] = []
        emptied = self.inbox.drain(letters, calls)
        return letters, calls, emptied

    def frames(self) -> list[list[Any]]:
        return [frames for _, _, frames in self.drain()[0]]


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    _OPENED.clear()
    yield made
    for opened in _OPENED:
        opened.close(0)
    made.term()


_OPENED: list[zmq.Socket[bytes]] = []


def pair(
    context: zmq.Context[zmq.Socket[bytes]], kind: str, opaque_bytes_min: int | None = None
) -> Pair:
    own, other = (zmq.DEALER, zmq.ROUTER) if kind == "link" else (zmq.ROUTER, zmq.DEALER)
    socket, peer = context.socket(own), context.socket(other)
    _OPENED.extend((socket, peer))
    for one in (socket, peer):
        one.setsockopt(zmq.RCVHWM, 0)
        one.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.ROUTING_ID, b"own")
    socket.bind(f"inproc://{kind}")
    peer.connect(f"inproc://{kind}")
    if kind == "link":
        peer.setsockopt(zmq.ROUTER_MANDATORY, 1)
    return Pair(peer, Inbox(socket, kind, kind, opaque_bytes_min))


@pytest.fixture
def mailbox(context: zmq.Context[zmq.Socket[bytes]]) -> Pair:
    return pair(context, "mailbox")


@pytest.fixture
def front(context: zmq.Context[zmq.Socket[bytes]]) -> Pair:
    return pair(context, "front", opaque_bytes_min=4_096)


@pytest.fixture
def link(context: zmq.Context[zmq.Socket[bytes]]) -> Pair:
    return pair(context, "link", opaque_bytes_min=4_096)


def test_a_request_becomes_a_letter_with_its_peer(mailbox: Pair) -> None:
    mailbox.send(ENVELOPE, ROUTE, HEADER)
    mailbox.send(ENVELOPE, ROUTE, HEADER, b"one", b"", b"x" * 5_000)
    letters, calls, emptied = mailbox.drain()
    assert (calls, emptied) == ([], True)
    small, large = letters
    assert small[0] == "mailbox"
    assert len(small[1]) == 5, "a routing id that libzmq made"
    assert small[2] == [ENVELOPE, ROUTE, HEADER]
    assert large[2] == [ENVELOPE, ROUTE, HEADER, b"one", b"", b"x" * 5_000]
    assert all(type(frame) is bytes for frame in large[2])
    assert mailbox.inbox.taken == 2
    assert mailbox.inbox.taken_bytes == 2 + 3 + 5_000


def test_ping_and_stats_are_the_shells(mailbox: Pair) -> None:
    for verb in (Verb.PING, Verb.PRODUCE, Verb.STATS, Verb.HELLO, Verb.DEFINE):
        mailbox.send(b"", pack_request(verb, 1, 1_000), HEADER)
    letters, calls, _ = mailbox.drain()
    assert [unpack_route(frames[1]).verb for _, _, frames in calls] == [Verb.PING, Verb.STATS]
    assert len(letters) == 3
    # A verb whose low byte is that of PING is not PING.
    mailbox.send(b"", pack_request(256 + Verb.PING, 1, 1_000), HEADER)
    assert len(mailbox.drain()[0]) == 1


def test_an_empty_socket_gives_nothing(mailbox: Pair, front: Pair, link: Pair) -> None:
    for one in (mailbox, front, link):
        assert one.drain() == ([], [], True)
        assert one.inbox.malformed == 0


def test_a_drain_is_bounded_in_messages(mailbox: Pair) -> None:
    for _ in range(TURN_MESSAGES_MAX + 3):
        mailbox.send(ENVELOPE, ROUTE, HEADER)
    letters, _, emptied = mailbox.drain()
    assert (len(letters), emptied) == (TURN_MESSAGES_MAX, False)
    letters, _, emptied = mailbox.drain()
    assert (len(letters), emptied) == (3, True)


@pytest.mark.parametrize("kind", ["mailbox", "front"])
def test_a_drain_is_bounded_in_bytes(context: zmq.Context[zmq.Socket[bytes]], kind: str) -> None:
    two = pair(context, kind)
    for _ in range(4):
        two.send(ENVELOPE, ROUTE, HEADER, b"x" * (TURN_BYTES_MAX // 2))
    assert [len(two.drain()[0]) for _ in range(3)] == [2, 2, 0]


def test_a_reply_comes_without_a_peer_and_large_payload_stays_opaque(link: Pair) -> None:
    payload = b"y" * 4_096
    link.peer.send_multipart([b"own", ENVELOPE, ROUTE, HEADER, b"small", payload])
    letters, calls, emptied = link.drain()
    assert (calls, emptied) == ([], True)
    ((name, peer, frames),) = letters
    assert (name, peer, frames[:4]) == ("link", b"", [ENVELOPE, ROUTE, HEADER, b"small"])
    assert isinstance(frames[4], zmq.Frame)
    assert frames[4].bytes == payload


def test_a_malformed_reply_is_dropped_and_counted(link: Pair) -> None:
    link.peer.send_multipart([b"own", ENVELOPE, b"no route", HEADER])
    link.peer.send_multipart([b"own", ENVELOPE, ROUTE, HEADER, *[b"x"] * LETTER_FRAMES_MAX])
    link.peer.send_multipart([b"own", ENVELOPE, ROUTE, HEADER])
    assert link.frames() == [[ENVELOPE, ROUTE, HEADER]]
    assert link.inbox.malformed == 2


def test_the_front_takes_whatever_comes_and_keeps_large_payload_opaque(front: Pair) -> None:
    front.send(b"")
    front.send(b"junk")
    front.send(ROUTE, b"h" * 5_000, b"p" * 4_095, b"P" * 4_096)
    first, second, third = front.frames()
    assert (first, second) == ([b""], [b"junk"])
    assert third[:3] == [ROUTE, b"h" * 5_000, b"p" * 4_095]
    assert isinstance(third[3], zmq.Frame)


@pytest.mark.parametrize("flags", [0, FLAG_JSON])
@pytest.mark.parametrize("kind", ["mailbox", "front"])
@pytest.mark.parametrize("over", ["frames", "bytes"])
def test_a_message_over_its_bound_gets_the_overflow_answer_and_harms_no_other(
    context: zmq.Context[zmq.Socket[bytes]], kind: str, over: str, flags: int
) -> None:
    two = pair(context, kind)
    envelope = [ENVELOPE] if kind == "mailbox" else []
    route = pack_request(Verb.PRODUCE, 99, 1_000, flags=flags)
    payload = [b"x"] * LETTER_FRAMES_MAX
    if over == "bytes":
        payload = [b"x" * MIB] * (LETTER_BYTES_MAX // MIB + 1)
    two.send(*envelope, route, HEADER, *payload)
    two.send(*envelope, ROUTE, HEADER)
    frames = two.frames() + two.frames()
    assert frames == [[*envelope, ROUTE, HEADER]]
    ((name, peer, answer),) = two.inbox.refusals
    assert (name, len(peer), answer[:-2]) == (kind, 5, envelope)
    reply = unpack_route(answer[-2])
    assert (reply.request_id, reply.tail) == (99, Code.TOO_LARGE)
    said = decode_header(answer[-1], ErrorReply, flags)
    assert said.name == "TOO_LARGE"
    assert str(LETTER_BYTES_MAX) in said.message
    assert not said.retryable


def test_a_large_message_without_a_route_is_dropped_and_counted(front: Pair) -> None:
    front.send(b"junk", HEADER, *[b""] * LETTER_FRAMES_MAX)
    assert front.drain() == ([], [], True)
    assert (front.inbox.refusals, front.inbox.malformed) == ([], 1)


@pytest.mark.parametrize("length", [1, 2])
def test_a_short_message_of_our_own_costs_at_most_its_neighbour(mailbox: Pair, length: int) -> None:
    mailbox.send(*[ENVELOPE, ROUTE][:length])
    for number in range(5):
        mailbox.send(ENVELOPE, ROUTE, HEADER, b"%d" % number)
    got = [frames[3] for frames in mailbox.frames() if len(frames) == 4]
    assert got[-4:] == [b"1", b"2", b"3", b"4"]
    mailbox.send(ENVELOPE, ROUTE, HEADER, b"later")
    assert mailbox.frames() == [[ENVELOPE, ROUTE, HEADER, b"later"]]


@pytest.mark.parametrize("length", [1, 2])
def test_a_short_message_at_the_end_is_dropped_and_counted(mailbox: Pair, length: int) -> None:
    mailbox.send(ENVELOPE, ROUTE, HEADER)
    mailbox.send(*[ENVELOPE, ROUTE][:length])
    assert mailbox.frames() == [[ENVELOPE, ROUTE, HEADER]]
    assert mailbox.inbox.malformed == 1
    mailbox.send(ENVELOPE, ROUTE, HEADER, b"later")
    assert mailbox.frames() == [[ENVELOPE, ROUTE, HEADER, b"later"]]


def test_a_route_of_a_wrong_size_is_dropped_and_counted(mailbox: Pair) -> None:
    mailbox.send(ENVELOPE, b"short", HEADER)
    mailbox.send(ENVELOPE, ROUTE, HEADER)
    assert mailbox.frames() == [[ENVELOPE, ROUTE, HEADER]]
    assert mailbox.inbox.malformed == 1
