"""State records: small, and the same after a round trip."""

from __future__ import annotations

from shardmq.actors.coordinator.records import (
    Place,
    RosterChanged,
    Topic,
    TopicGone,
    TopicPut,
    decode_state,
    encode_state,
)

TOPIC = Topic(
    name="orders",
    topic_id=1,
    version=1,
    slots_version=1,
    write_queues=2,
    places=(Place(1, 0), Place(2, 1, 300)),
    slots=(0, 1),
    request_key="k",
)


def test_records_come_back_as_they_were() -> None:
    for record in (TopicPut(TOPIC), TopicGone(7), RosterChanged(3, ("a",), ("b", "c"))):
        assert decode_state(encode_state(record)) == record


def test_a_topic_of_ten_thousand_queues_is_a_small_record() -> None:
    places = tuple(Place(1_000_000 + number, number % 8) for number in range(10_000))
    record = TopicPut(
        Topic(
            name="wide",
            topic_id=1,
            version=1,
            slots_version=1,
            write_queues=10_000,
            places=places,
            slots=tuple(range(4_096)),
        )
    )
    assert len(encode_state(record)) < 110_000


def test_the_form_on_disk_is_an_array_with_the_tag_first() -> None:
    assert encode_state(TopicGone(7)) == b"\x92\x02\x07"
