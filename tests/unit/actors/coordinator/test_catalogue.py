"""The catalogue: live state equals replayed state, whatever the snapshots' moments."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shardmq.actors.coordinator.catalogue import BUCKETS, SPENT_KEYS_MAX, Catalogue
from shardmq.actors.coordinator.records import (
    Place,
    StateRecord,
    Topic,
    TopicGone,
    TopicPut,
    encode_state,
)
from support.manual import at
from support.memory_journal import MemoryJournal


def topic(topic_id: int, name: str = "orders", *, number: int = 0, key: str = "") -> Topic:
    return Topic(
        name=name,
        topic_id=topic_id,
        version=1,
        slots_version=1,
        write_queues=1,
        places=(Place(number or topic_id, 0),),
        slots=(0,),
        request_key=key,
    )


def fold(*states: StateRecord) -> tuple[Catalogue, MemoryJournal]:
    catalogue = Catalogue()
    journal = MemoryJournal(catalogue)
    for state in states:
        held = state.topic.topic_id if isinstance(state, TopicPut) else state.topic_id
        journal.append_state(encode_state(state), at(0), queue=held)
    journal.sync()
    return catalogue, journal


def test_an_empty_catalogue_starts_counting_at_one() -> None:
    catalogue = Catalogue()
    assert (catalogue.next_topic_id, catalogue.next_queue, len(catalogue)) == (1, 1, 0)
    assert [catalogue.snapshot(bucket) for bucket in range(BUCKETS)] == [None] * BUCKETS


def test_ids_and_queue_numbers_of_a_deleted_topic_are_not_given_again() -> None:
    catalogue, _ = fold(TopicPut(topic(7, number=90)), TopicGone(7))
    assert (catalogue.next_topic_id, catalogue.next_queue) == (8, 91)
    assert catalogue.named("orders") is None
    assert catalogue.get(7) is None


def test_a_name_belongs_to_the_topic_that_has_it_now() -> None:
    catalogue, _ = fold(TopicPut(topic(1)), TopicGone(1), TopicPut(topic(2)), TopicGone(1))
    found = catalogue.named("orders")
    assert found is not None
    assert found.topic_id == 2
    assert catalogue.names() == ["orders"]


def test_names_are_sorted_and_follow_changes() -> None:
    catalogue, journal = fold(TopicPut(topic(1, "b")), TopicPut(topic(2, "a")))
    assert catalogue.names() == ["a", "b"]
    journal.append_state(encode_state(TopicGone(1)), at(0), queue=1)
    assert catalogue.names() == ["a"]


def test_the_key_of_a_deleted_topic_is_remembered_for_a_while() -> None:
    catalogue, journal = fold(TopicPut(topic(1, key="wish")), TopicGone(1))
    assert catalogue.is_spent("wish")
    for count in range(1, SPENT_KEYS_MAX + 1):
        topic_id = 1 + count * BUCKETS
        for state in (TopicPut(topic(topic_id, key=f"k{count}")), TopicGone(topic_id)):
            journal.append_state(encode_state(state), at(0), queue=topic_id)
    assert not catalogue.is_spent("wish")
    assert catalogue.is_spent("k1")


def test_records_of_other_kinds_do_not_concern_it() -> None:
    journal = MemoryJournal()
    batch = journal.append_batch(1, 0, b"", at(0))
    assert Catalogue().bucket_of(batch) == -1


STEPS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60)


def history(steps: list[tuple[int, bool]]) -> list[StateRecord]:
    """Topics of four names come and go; ids grow over more than one bucket."""
    states: list[StateRecord] = []
    living: dict[str, int] = {}
    topic_id = 0
    for index, deletes in steps:
        name = f"t{index}"
        if deletes and name in living:
            states.append(TopicGone(living.pop(name)))
        elif not deletes and name not in living:
            topic_id += 1 + 13 * index
            living[name] = topic_id
            states.append(TopicPut(topic(topic_id, name, key=f"{topic_id}")))
    return states


@given(STEPS, st.data())
def test_slices_of_different_moments_and_the_records_above_each_give_the_live_state(
    steps: list[tuple[int, bool]], data: st.DataObject
) -> None:
    states = history(steps)
    live, journal = fold(*states)
    records = journal.records
    cuts = [data.draw(st.integers(0, len(records))) for _ in range(BUCKETS)]
    restored = Catalogue()
    for bucket in data.draw(st.permutations(range(BUCKETS))):
        then, _ = fold(*states[: cuts[bucket]])
        state = then.snapshot(bucket)
        if state is not None:
            restored.restore(bucket, msgspec.msgpack.decode(msgspec.msgpack.encode(state)))
    for position, record in enumerate(records):
        if position >= cuts[restored.bucket_of(record)]:
            restored.apply(record)
    assert restored.digest() == live.digest()
    assert restored.names() == live.names()
    assert (restored.next_topic_id, restored.next_queue) == (live.next_topic_id, live.next_queue)
