"""Readiness: whether a broker's processes have found each other.

Owns one question, asked at the start: an actor that answers PING serves, but a router that is not
connected to its shards yet would answer the first request UNAVAILABLE. Knows the mailboxes only.
"""

from __future__ import annotations

from collections.abc import Mapping

import zmq

from shardmq.actors.kernel.clock import SystemClock
from shardmq.actors.protocol.codec import HeaderError, decode_header, encode_header
from shardmq.actors.protocol.frames import pack_request
from shardmq.actors.protocol.messages import StatsReply, StatsRequest
from shardmq.actors.protocol.verbs import Verb

__all__ = ["wait_for_links"]

ASK_EVERY_MS = 5


def wait_for_links(wanted: Mapping[str, int], timeout_s: float) -> bool:
    """Waits until the actor behind each mailbox has so many links up; False if that takes too
    long."""
    clock = SystemClock()
    until_ms = clock.now().mono_ms + timeout_s * 1e3
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        for address, links in wanted.items():
            with context.socket(zmq.DEALER) as socket:
                socket.setsockopt(zmq.LINGER, 0)
                socket.connect(address)
                while _links_up(socket, until_ms - clock.now().mono_ms) < links:
                    if clock.now().mono_ms >= until_ms:
                        return False
                    socket.poll(ASK_EVERY_MS)
        return True
    finally:
        context.destroy(linger=0)


def _links_up(socket: zmq.Socket[bytes], timeout_ms: float) -> int:
    """What the actor's STATS say; -1 if it does not answer."""
    route = pack_request(Verb.STATS, 1, max(1, int(timeout_ms)))
    socket.send_multipart([b"", route, encode_header(StatsRequest())])
    if not socket.poll(max(0, int(timeout_ms))):
        return -1
    try:
        reply = decode_header(socket.recv_multipart()[2], StatsReply)
    except (HeaderError, IndexError):
        return -1
    return int(reply.figures.get("links_up", -1))
