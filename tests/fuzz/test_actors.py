"""Hostile requests against whole cores: router, shard and coordinator live on and serve others.

The decoders have their own tests; here it is what a core does with a request that decodes but makes
no sense, or with frames that are too few, too many or in the wrong place.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.coordinator.coordinator import Coordinator
from shardmq.actors.coordinator.decisions import Policy
from shardmq.actors.coordinator.groups import Groups
from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_JSON, ROUTE, pack_request
from shardmq.actors.protocol.messages import Hello, Offsets, OffsetsQueue, Ping, TopicList
from shardmq.actors.protocol.verbs import VERB_ROWS, Destination, Verb
from shardmq.router.router import Router
from support import repo
from support.fuzzing import VALUES, examples, mutated
from support.manual import CountingRandomness, at
from support.memory_journal import MemoryJournal
from support.shards import ShardUnderTest, batch, topic

FRONT, CLIENT, OTHER = "front", b"hostile", b"other"
VECTORS = json.loads((repo.ROOT / "tests/vectors/verbs.json").read_text(encoding="utf-8"))
SEEDS = [[bytes.fromhex(frame) for frame in one["frames"]] for one in VECTORS]
NUMBERS = st.sampled_from([0, 1, 2, 7, 12, 13, 500, (1 << 31) - 1, (1 << 32) - 1, (1 << 63) - 1])


@st.composite
def requests(draw: st.DrawFn) -> list[bytes]:
    """Frames of a request in some degree of disorder."""
    frames = list(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(frames) - 1)) if frames else 0
        change = draw(st.sampled_from(["mutate", "drop", "repeat", "swap", "random", "empty"]))
        if not frames or change == "random":
            frames.insert(place, draw(st.binary(max_size=40)))
        elif change == "mutate":
            frames[place] = draw(mutated(frames[place]))
        elif change == "drop":
            del frames[place]
        elif change == "repeat":
            frames.insert(place, frames[place])
        elif change == "swap":
            frames.insert(0, frames.pop(place))
        else:
            frames[place] = b""
    return frames


@st.composite
def wild_requests(draw: st.DrawFn) -> list[bytes]:
    """A sound route, and a header with real keys, sound types and senseless values."""
    verb = draw(st.sampled_from([row.verb for row in VERB_ROWS]))
    shard = draw(st.sampled_from([0, 1, 9, 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD]))
    route = pack_request(verb, draw(st.integers(0, 5)), draw(st.sampled_from([0, 1, 1_000])),
                         shard=shard, flags=FLAG_JSON)  # fmt: skip
    entry = st.fixed_dictionaries(
        {"queue": NUMBERS},
        optional={"offset": NUMBERS, "version": NUMBERS, "time_ms": NUMBERS, "body": st.just("b")},
    )
    message = st.fixed_dictionaries(
        {"body": st.sampled_from(["", "b", "c" * 99])},
        optional={"ordering_key": st.sampled_from(["k", "l"]), "queue_id": NUMBERS,
                  "tag": st.sampled_from(["t", "*"]), "born_at_ms": NUMBERS},
    )  # fmt: skip
    header = draw(st.fixed_dictionaries({}, optional={
        "queues": st.lists(entry, max_size=4) | NUMBERS, "topic": st.sampled_from(["orders", "x"]),
        "topics": st.lists(st.sampled_from(["orders", "%SYS%x", ""]), max_size=3),
        "messages": st.lists(message, max_size=4), "ack": st.sampled_from(["none", "synced"]),
        "wait_ms": NUMBERS, "bytes_max": NUMBERS, "first_sequence": NUMBERS,
        "producer_id": st.sampled_from(["0" * 16, "f" * 16, "F" * 16, "", "1"]),
        "write_queues": NUMBERS, "read_queues": NUMBERS, "retention_ms": NUMBERS,
        "topic_id": NUMBERS, "count_max": NUMBERS, "request_key": st.sampled_from(["", "k"]),
        "unknown": VALUES,
    }))  # fmt: skip
    encoded = json.dumps(header, default=repr).encode()
    return [route, encoded, *draw(st.lists(st.just(batch()) | st.binary(max_size=80), max_size=2))]


HOSTILE = st.lists(requests() | wild_requests(), max_size=8)


def code_of(letter: Any) -> int:
    frames = letter[2]
    route = next(frame for frame in frames if len(frame) == 24 and bytes(frame[:3]) == b"SMQ")
    return int(ROUTE.unpack(route)[-1])


@examples(150)
@given(HOSTILE, st.booleans(), HOSTILE)
def test_a_router_serves_others_whatever_a_client_or_an_actor_sends(
    asked: list[list[bytes]], has_session: bool, answered: list[list[bytes]]
) -> None:
    router = Router(shards=2, randomness=CountingRandomness())
    for link in ("shard-0", "shard-1", "coordinator"):
        router.link_changed(link, True, at(0))
    hello = [pack_request(Verb.HELLO, 1, 1_000), encode_header(Hello())]
    router.handle([(FRONT, OTHER, hello)], at(0))
    if has_session:
        router.handle([(FRONT, CLIENT, hello)], at(0))
    for letter in router.handle([(FRONT, CLIENT, frames) for frames in asked if frames], at(1)):
        assert letter[0] != FRONT or code_of(letter) != Code.INTERNAL
    router.handle([("shard-0", b"", frames) for frames in answered if frames], at(2))
    router.handle([], at(700_000_000))
    router.handle([(FRONT, OTHER, hello)], at(700_000_001))
    ping = [pack_request(Verb.PING, 9, 1_000), encode_header(Ping())]
    (pong,) = router.handle([(FRONT, OTHER, ping)], at(700_000_001))
    assert (pong[1], code_of(pong)) == (OTHER, Code.OK)


@examples(100)
@given(HOSTILE)
def test_a_shard_serves_others_whatever_a_client_sends(asked: list[list[bytes]]) -> None:
    shard = ShardUnderTest()
    shard.define(topic(numbers=(12, 13)))
    letters = []
    for frames in asked:
        envelope = b"\1" * 24
        if frames and len(frames[0]) == 24 and frames[0][4:6] == bytes([Verb.DEFINE, 0]):
            continue  # only the coordinator can send it
        letters.append(("mailbox", b"router", [envelope, *frames]))
    for one in shard.turn(letters) + shard.sync() + shard.pass_time(700_000):
        assert one.code != Code.INTERNAL
    assert shard.fill(12, b"sound", producer_id=0x5EED).code == Code.OK
    asked_again = Offsets(queues=[OffsetsQueue(queue=12)])
    latest = shard.ask(Verb.OFFSETS, asked_again).header.queues[0].latest
    assert shard.fetch((12, latest - 1)).code == Code.OK
    before = shard.digests()
    shard.restart()
    assert shard.digests() == before, "what hostile requests stored is read back the same"


@examples(150)
@given(HOSTILE)
def test_a_coordinator_serves_others_whatever_a_client_sends(asked: list[list[bytes]]) -> None:
    catalogue, groups = Catalogue(), Groups()
    journal = MemoryJournal(catalogue, groups)
    core = Coordinator(journal, catalogue, groups, Policy(shards=2, auto_create=True))
    envelope = b"\1" * 24
    letters = [("mailbox", b"router", [envelope, *frames]) for frames in asked]
    for letter in core.handle(letters, at(0)):
        assert letter[0] != "mailbox" or code_of(letter) != Code.INTERNAL
    journal.sync()
    core.durable_advanced(at(1))
    core.handle([], at(700_000_000))
    sound = [envelope, pack_request(Verb.TOPIC_LIST, 9, 1_000), encode_header(TopicList())]
    (reply,) = core.handle([("mailbox", b"router", sound)], at(700_000_001))
    assert code_of(reply) == Code.OK
    journal.sync()
    replayed = Catalogue(), Groups()
    journal.replayed_into(*replayed)
    assert [one.digest() for one in replayed] == [catalogue.digest(), groups.digest()]


def test_every_verb_that_comes_from_outside_is_among_the_examples() -> None:
    outside = {row.verb for row in VERB_ROWS if row.destination is not Destination.INTERNAL}
    assert outside <= {frames[0][4] for frames in SEEDS}


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_letter_with_too_few_frames_is_no_request(count: int) -> None:
    shard = ShardUnderTest()
    assert shard.turn([("mailbox", b"router", [b"\1" * 24] * count)]) == []
