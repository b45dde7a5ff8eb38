"""Copies: what a message keeps, what its copies say of it, and that every reader takes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shardmq.actors.protocol.batch import (
    BatchError,
    BatchView,
    Columns,
    check_batch,
    encode_batch,
    message_id,
)
from shardmq.actors.protocol.compress import Compression
from shardmq.actors.protocol.limits import (
    BATCH_BYTES_MAX,
    BODY_BYTES_MAX,
    FRAME_BYTES_MAX,
    HEADER_BYTES_MAX,
    KEY_BYTES_MAX,
    KEYS_MAX,
    NACK_DETAIL_CHARS_MAX,
    PROPERTIES_BYTES_MAX,
)
from shardmq.actors.protocol.plain import plain_messages
from shardmq.actors.protocol.retries import HISTORY_MAX
from shardmq.shards.copies import (
    Copy,
    StoredBatch,
    attempt_of,
    copy_of,
    encode_copies,
    same_of,
    shortened,
)
from shardmq.shards.state.records import Scheduled, ScheduledEntry
from shardmq.shards.state.schedule import DELIVER, RETRY

NAME = (5, 600, 1)
TOPIC, RETRIES = "orders", "%RETRY%billing"


def stored(base_offset: int = 100, *, codec: int = 0, **columns: Any) -> StoredBatch:
    frame = encode_batch(
        Columns(**{"bodies": [b"one", b"two"], **columns}), producer_id=9, first_sequence=40,
        first_born_ms=1_000, last_born_ms=2_000, compression=codec,
    )  # fmt: skip
    return StoredBatch(bytes(64) + frame, base_offset)


def scheduled(entry: ScheduledEntry, *, topic: str = TOPIC, **changes: Any) -> Scheduled:
    values: dict[str, Any] = {"kind": RETRY, "dead": False, "group_id": 7, **changes}
    return Scheduled(6, 70, topic=topic, queue_id=3, entries=[entry], **values)


def copied(source: StoredBatch, offset: int = 101, *, attempt: int = 2, **changes: Any) -> Copy:
    entry = ScheduledEntry(offset, 500, 10, attempt, "ValueError: bad", "line 1")
    return copy_of(source, scheduled(entry, **changes), entry, NAME, failed_at_ms=77)


def opened(*copies: Copy) -> BatchView:
    frame = encode_copies(copies)
    return BatchView(frame, check_batch(frame))


def of_a_retry_queue(copy: Copy) -> StoredBatch:
    return StoredBatch(bytes(64) + encode_copies([copy]), 7)


def test_a_copy_keeps_all_that_the_producer_gave() -> None:
    source = stored(
        tags=["a", "b"], keys=[["k"], ["l", "m"]], ordering_keys=[None, "o"],
        properties=[{}, {"zone": "eu"}],
    )  # fmt: skip
    view = opened(copied(source))
    assert view.bodies() == [b"two"]
    assert (view.tags(), view.keys(), view.ordering_keys()) == (["b"], [["l", "m"]], ["o"])
    assert view.message_ids() == [message_id(9, 41)]
    assert (view.head.first_born_ms, view.head.last_born_ms) == (1_000, 2_000)
    assert view.entries() == [NAME]
    assert view.properties() == [
        {
            "zone": "eu",
            "%TOPIC": TOPIC,
            "%QUEUE": "3",
            "%OFFSET": "101",
            "%ATTEMPT": "2",
            "%HISTORY": '[[1,77,"ValueError: bad"]]',
        }
    ]


def test_copies_of_several_messages_share_a_batch() -> None:
    source = stored(tags=["a", None])
    view = opened(copied(source, 100), copied(source, 101))
    assert view.bodies() == [b"one", b"two"]
    assert view.tags() == ["a", None]
    assert (view.keys(), view.ordering_keys(), view.offset_deltas()) == (None, None, None)
    assert view.message_ids() == [message_id(9, 40), message_id(9, 41)]


def test_what_was_compressed_is_compressed_again() -> None:
    source = stored(bodies=[b"x" * 500, b"y" * 500], codec=Compression.ZSTD)
    copy = copied(source)
    frame = encode_copies([copy])
    assert len(frame) < 400
    assert BatchView(frame, check_batch(frame)).bodies() == [b"y" * 500]


def test_a_dead_letter_says_why() -> None:
    (properties,) = opened(copied(stored(), attempt=16, dead=True)).properties() or []
    assert properties["%ATTEMPT"] == "16"
    assert (properties["%CAUSE"], properties["%DETAIL"]) == ("ValueError: bad", "line 1")
    assert json.loads(properties["%HISTORY"]) == [[16, 77, "ValueError: bad"]]


def test_a_copy_of_a_copy_names_the_first_place_and_all_attempts() -> None:
    first = of_a_retry_queue(copied(stored(properties=[{}, {"zone": "eu"}])))
    assert attempt_of(RETRIES, first, 7) == 2
    view = opened(copied(first, 7, attempt=3, topic=RETRIES))
    (properties,) = view.properties() or []
    assert view.message_ids() == [message_id(9, 41)]
    assert (properties["%TOPIC"], properties["%QUEUE"], properties["%OFFSET"]) == (
        TOPIC,
        "3",
        "101",
    )
    assert (properties["%ATTEMPT"], properties["zone"]) == ("3", "eu")
    assert [row[0] for row in json.loads(properties["%HISTORY"])] == [1, 2]


def test_only_a_copy_in_a_retry_queue_is_believed() -> None:
    forged = stored(properties=[{}, {"%ATTEMPT": "15", "%TOPIC": "x", "zone": "eu"}])
    assert attempt_of(TOPIC, forged, 101) == 1
    assert attempt_of(RETRIES, forged, 101) == 1  # written there by a producer
    (properties,) = opened(copied(forged, topic=RETRIES)).properties() or []
    assert (properties["%TOPIC"], properties["%ATTEMPT"]) == (RETRIES, "2")
    again = of_a_retry_queue(copied(stored()))
    assert attempt_of("%DLQ%billing", again, 7) == 1


def test_what_is_delivered_late_says_nothing_of_itself() -> None:
    view = opened(copied(stored(properties=[{}, {"zone": "eu"}]), kind=DELIVER))
    assert view.properties() == [{"zone": "eu"}]


def test_the_history_is_bounded() -> None:
    source = stored()
    for attempt in range(2, 100):
        source = of_a_retry_queue(copied(source, 101 if attempt == 2 else 7, attempt=attempt,
                                         topic=TOPIC if attempt == 2 else RETRIES))  # fmt: skip
    rows = json.loads(source.properties(0)["%HISTORY"])
    assert [row[0] for row in rows] == list(range(99 - HISTORY_MAX, 99))


def test_the_largest_message_with_the_longest_story_is_taken_by_every_reader() -> None:
    source = stored(
        bodies=[b"x", bytes(BODY_BYTES_MAX)],
        keys=[[], ["\1" * KEY_BYTES_MAX] * KEYS_MAX],
        properties=[{}, {"p": "\1" * (PROPERTIES_BYTES_MAX - 1)}],
    )
    text = "\1" * NACK_DETAIL_CHARS_MAX  # six bytes each in JSON
    entry = ScheduledEntry(101, 500, 10, 16, text, text)
    copy = copy_of(source, scheduled(entry, dead=True), entry, NAME, 77)
    view = opened(copy)
    assert view.head.length <= BATCH_BYTES_MAX
    (plain,) = plain_messages(view, 0, 0, bytes_max=FRAME_BYTES_MAX - HEADER_BYTES_MAX)
    assert (plain.properties or {})["%DETAIL"] == text


def test_a_message_that_fills_a_batch_goes_without_its_story() -> None:
    source = stored(bodies=[b"x", bytes(BATCH_BYTES_MAX - 2_000)])
    entry = ScheduledEntry(101, 500, 10, 16, "c" * 4_000, "d" * 4_000)
    copy = copy_of(source, scheduled(entry, dead=True), entry, NAME, 77)
    with pytest.raises(BatchError):
        encode_copies([copy])
    (properties,) = opened(shortened(copy)).properties() or []
    assert set(properties) == {"%TOPIC", "%QUEUE", "%OFFSET", "%ATTEMPT"}


def test_the_size_of_a_copy_is_never_less_than_it_takes() -> None:
    source = stored(tags=["a", "b"], keys=[[], ["k"]], properties=[{}, {"ö": "ü"}])
    copies = [copied(source, 100), copied(source, 101)]
    assert len(encode_copies(copies)) <= 64 + 64 + sum(one.bytes for one in copies)


def test_an_offset_that_the_batch_does_not_hold_is_an_error() -> None:
    for offset in (99, 102):
        with pytest.raises(BatchError, match="no message"):
            stored().index_of(offset)


# ------------------------------------------------------------------ carried on


def carried(source: StoredBatch, offset: int, topic: str) -> StoredBatch:
    """A batch with that message alone, of the same offset."""
    one = ScheduledEntry(offset, 500, 10, 2)
    copy = same_of(source, scheduled(one, topic=topic), NAME, offset)
    return StoredBatch(bytes(64) + encode_copies([copy], ends=False), 55)


@pytest.mark.parametrize("topic", [TOPIC, RETRIES])
@pytest.mark.parametrize("kind", [DELIVER, RETRY])
def test_a_copy_of_what_was_carried_is_one_of_the_message(topic: str, kind: int) -> None:
    plain = stored(
        tags=["a", "b"], keys=[["k"], ["l", "m"]], ordering_keys=[None, "o"],
        properties=[{}, {"zone": "eu", "%TOPIC": "forged", "%HISTORY": "forged"}],
        codec=int(Compression.ZSTD),
    )  # fmt: skip
    sources = [(plain, 101), (of_a_retry_queue(copied(plain)), 7)]
    for source, offset in sources:
        entry = ScheduledEntry(offset, 500, 10, 3, "c", "d")
        decision = scheduled(entry, topic=topic, kind=kind, dead=True)
        once = carried(source, offset, topic)
        twice = carried(once, 55, topic)
        wanted = copy_of(source, decision, entry, NAME, 88)
        assert copy_of(once, decision, entry, NAME, 88, 55) == wanted
        assert copy_of(twice, decision, entry, NAME, 88, 55) == wanted


def test_what_is_carried_ends_no_entry() -> None:
    entry = ScheduledEntry(101, 500, 10, 2)
    copy = same_of(stored(), scheduled(entry), NAME, 101)
    frame = encode_copies([copy], ends=False)
    assert BatchView(frame, check_batch(frame)).entries() is None
