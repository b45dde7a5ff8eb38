"""For unit tests of the router's core: one that has started, letters to it and from it."""

from __future__ import annotations

import msgspec

from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_REPLY, pack_reply, pack_request, unpack_route
from shardmq.actors.protocol.verbs import Verb
from shardmq.router.reception import Identity
from shardmq.router.router import Router

from .manual import CountingRandomness, at

PEER = b"\0peer"
EPOCH = 1
LINKS = ("shard-0", "shard-1", "coordinator")


def started(*, hello: bool = True, links: tuple[str, ...] = LINKS) -> Router:
    router = Router(shards=2, randomness=CountingRandomness(), identity=Identity("router-0", "9.9"))
    for link in links:
        assert router.link_changed(link, True, at(0)) == []
    if hello:
        code_of(router.handle([front(Verb.HELLO, m.Hello())], at(0)))
    return router


def front(
    verb: int,
    header: m.Header | bytes = b"\x80",
    *payload: bytes,
    shard: int = 0,
    request_id: int = 1,
    deadline_ms: int = 1_000,
    flags: int = 0,
    peer: bytes = PEER,
) -> Letter:
    body = header if isinstance(header, bytes) else encode_header(header, flags)
    route = pack_request(verb, request_id, deadline_ms, shard=shard, flags=flags)
    return "front", peer, [route, body, *payload]


def answer(handed_on: Letter, *payload: bytes, code: int = Code.OK) -> Letter:
    """What an actor sends back for a letter that the router handed on."""
    link, _, frames = handed_on
    return link, b"", [frames[0], pack_reply(unpack_route(frames[1]), code), b"\x80", *payload]


def code_of(letters: list[Letter]) -> Code:
    """The code of the only letter, which goes to the front."""
    [(link, peer, frames)] = letters
    assert (link, peer) == ("front", PEER)
    route = unpack_route(frames[0])
    assert route.flags & FLAG_REPLY
    return Code(route.tail)


def error_of(letters: list[Letter]) -> m.ErrorReply:
    code = code_of(letters)
    error: m.ErrorReply = msgspec.msgpack.decode(letters[0][2][1], type=m.ErrorReply)
    assert error.name == code.name
    return error
