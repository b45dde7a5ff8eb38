"""Takings: told in steps, to whom it concerns."""

from __future__ import annotations

from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.frames import ENVELOPE, unpack_route
from shardmq.actors.protocol.messages import Taken
from shardmq.actors.protocol.verbs import Verb
from shardmq.router.takings import TELL_BYTES, Takings


def test_a_shard_hears_of_what_was_taken_in_steps() -> None:
    takings = Takings(epoch=7)
    out: list[Letter] = []
    takings.took("shard-0", TELL_BYTES - 1, out)
    takings.took("shard-1", TELL_BYTES - 1, out)
    assert out == []
    takings.took("shard-0", 5, out)
    takings.took("shard-0", TELL_BYTES - 1, out)
    [(link, peer, [envelope, route, header])] = out
    assert (link, peer, unpack_route(route).verb) == ("shard-0", b"", Verb.TAKEN)
    assert ENVELOPE.unpack(envelope)[:2] == (7, 0)
    assert decode_header(header, Taken) == Taken(bytes=TELL_BYTES + 4)


def test_what_a_lost_link_owed_is_not_told_to_the_next_one() -> None:
    takings = Takings(epoch=7)
    out: list[Letter] = []
    takings.took("shard-0", TELL_BYTES - 1, out)
    takings.link_lost("shard-0")
    takings.took("shard-0", 1, out)
    assert out == []
