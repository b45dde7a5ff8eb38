"""State records: golden bytes, because logs of older versions have to stay readable."""

from __future__ import annotations

import msgspec
import pytest

from shardmq.actors.protocol.messages import QueueRoute, TopicRoute
from shardmq.shards.state.records import (
    Carried,
    CarriedPlace,
    CursorMove,
    CursorsMoved,
    EarliestRaised,
    EntriesEnded,
    Granted,
    GrantedQueue,
    GroupsForgotten,
    HandedOut,
    HandedQueue,
    ProducersForgotten,
    QueuePlace,
    QueuesDropped,
    Scheduled,
    ScheduledEntry,
    StateRecord,
    TopicDefined,
    TopicDefinition,
    TopicDropped,
    WatermarkRaised,
    decode_state,
    encode_state,
    tag_of,
)

DEFINITION = TopicDefinition(
    "t", 3, 2, 1, 60, 9, [0, 1], [QueuePlace(0, 5, 0), QueuePlace(1, 6, 1, 7, True, False)]
)
GOLDEN: list[tuple[StateRecord, str]] = [
    (TopicDefined(DEFINITION), "920198a1740302013c09920001929600050000c3c39601060107c3c2"),
    (TopicDropped(3), "920203"),
    (QueuesDropped([1, 65]), "9203920141"),
    (EarliestRaised([(1, 100), (65, 7)]), "9204929201649241" + "07"),
    (ProducersForgotten(12), "92050c"),
    (
        Granted(7, "g", [GrantedQueue(1, 2, "m", "*", 300), GrantedQueue(65, 3, "", "a")]),
        "940607a1679295" + "0102a16da12acd012c" + "954103a0a161c0",
    ),
    (CursorsMoved(7, [CursorMove(1, 300, [302, 303])]), "93070791" + "9301cd012c92cd012ecd012f"),
    (GroupsForgotten([7, 9]), "9208920709"),
    (
        Scheduled(6, 70, 2, False, 7, "t", 1, [ScheduledEntry(300, 9, 10, 2, "c", "d")]),
        "990a064602c207a17401" + "9197cd012c090a02a163a16490",
    ),
    (EntriesEnded([(1, 300, 2)], "r"), "930b919301cd012c02a172"),
    (WatermarkRaised(300), "920ccd012c"),
    (
        HandedOut(7, [HandedQueue(1, 9, 300, True, [(5, 6, 2)])], [CursorMove(1, 2, [3, 4])]),
        "940d079195" + "0109cd012cc391" + "93050602" + "919301029203" + "04",
    ),
    (
        Carried(
            6,
            300,
            [(1, 300, 2)],
            Scheduled(6, 70, 2, False, 7, "t", 1, [ScheduledEntry(300, 9, 10, 2, "c", "d")]),
            [CarriedPlace(5, 300)],
        ),
        "960e06cd012c919301cd012c02990a064602c207a17401" + "9197cd012c090a02a163a16490919205cd012c",
    ),
]


@pytest.mark.parametrize(("record", "golden"), GOLDEN)
def test_bytes_of_a_record_never_change(record: StateRecord, golden: str) -> None:
    assert encode_state(record).hex() == golden
    assert decode_state(bytes.fromhex(golden)) == record


@pytest.mark.parametrize(("record", "golden"), GOLDEN)
def test_a_tag_is_read_without_decoding(record: StateRecord, golden: str) -> None:
    assert tag_of(bytes.fromhex(golden)) == record.__struct_config__.tag


def test_an_entry_that_was_written_without_earlier_failures_is_still_read() -> None:
    older = "990a064602c207a17401" + "9196cd012c090a02a163a164"
    entries = [ScheduledEntry(300, 9, 10, 2, "c", "d")]
    assert decode_state(bytes.fromhex(older)) == Scheduled(6, 70, 2, False, 7, "t", 1, entries)


def test_a_record_of_a_newer_version_is_an_error() -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_state(bytes.fromhex("927f01"))


def test_a_definition_is_the_route_without_its_names() -> None:
    queues = [
        QueueRoute(queue_id=0, number=5, shard=0),
        QueueRoute(queue_id=1, number=6, shard=1, from_offset=7, writable=False),
    ]
    route = TopicRoute(
        topic="t",
        topic_id=3,
        version=2,
        slots_version=1,
        queues=queues,
        slots=[0, 1],
        retention_ms=60,
        created_at_ms=9,
    )
    assert TopicDefinition.of_route(route) == DEFINITION
