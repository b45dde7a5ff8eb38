"""The groups: live state equals replayed state, whatever the snapshots' moments."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.coordinator.groups import BUCKETS, Groups, GroupState
from shardmq.actors.coordinator.records import (
    CursorIdGiven,
    Granted,
    GrantRow,
    Group,
    GroupGone,
    GroupPut,
    GroupTopic,
    Position,
    QueuesGone,
    RosterChanged,
    StateRecord,
    TopicGone,
    encode_state,
    holder_of,
)
from shardmq.actors.protocol.work_messages import EVERYBODY
from support.manual import at
from support.memory_journal import MemoryJournal


def group(group_id: int, name: str = "billing", *, model: str = "clustering") -> Group:
    return Group(
        name=name,
        group_id=group_id,
        model=model,
        strategy="sticky",
        topics=(GroupTopic("orders", "*"),),
        start=Position(),
        lease_ms=10_000,
    )


def granted(group_id: int, *rows: GrantRow, cursor_id: int = 0) -> Granted:
    return Granted(group_id, cursor_id or group_id, rows)


def fold(*states: StateRecord) -> tuple[Groups, MemoryJournal]:
    groups = Groups()
    journal = MemoryJournal(groups)
    for state in states:
        journal.append_state(encode_state(state), at(0), queue=holder_of(state))
    journal.sync()
    return groups, journal


def there(groups: Groups, name: str = "billing") -> GroupState:
    found = groups.named(name)
    assert found is not None
    return found


def test_without_groups_ids_start_at_one() -> None:
    groups = Groups()
    assert (groups.next_id, len(groups), groups.names()) == (1, 0, [])
    assert [groups.snapshot(bucket) for bucket in range(BUCKETS)] == [None] * BUCKETS


def test_the_latest_grant_of_a_queue_is_in_force() -> None:
    rows = GrantRow(5, 1, "a"), GrantRow(6, 1, "b"), GrantRow(5, 2, "", Position("earliest"))
    groups, _ = fold(GroupPut(group(1)), granted(1, *rows[:2]), granted(1, rows[2]))
    assert there(groups).granted(1) == {5: rows[2], 6: rows[1]}


def test_a_group_that_changed_keeps_its_grants() -> None:
    groups, _ = fold(GroupPut(group(1)), granted(1, GrantRow(5, 3, "a")), GroupPut(group(1)))
    assert there(groups).granted(1)[5].generation == 3


def test_ids_are_not_given_again_and_a_name_belongs_to_the_group_that_has_it_now() -> None:
    groups, journal = fold(GroupPut(group(7)), GroupGone(7))
    assert (groups.next_id, groups.named("billing"), groups.get(7)) == (8, None, None)
    journal.append_state(encode_state(GroupPut(group(8))), at(0), queue=holder_of(GroupGone(8)))
    journal.append_state(encode_state(GroupGone(7)), at(0), queue=holder_of(GroupGone(7)))
    assert there(groups).group.group_id == 8
    assert groups.names() == ["billing"]


def test_broadcasting_members_have_ids_of_their_own_from_the_same_sequence() -> None:
    put = GroupPut(group(1, model="broadcasting"))
    given_ids = CursorIdGiven(1, "a", 2), CursorIdGiven(1, "b", 3)
    groups, journal = fold(put, *given_ids, granted(1, GrantRow(5, 1, "a"), cursor_id=2))
    assert (groups.next_id, groups.ids_count, sorted(groups.ids())) == (4, 3, [1, 2, 3])
    assert groups.of_cursor_id(3) == (there(groups), "b")
    assert groups.of_cursor_id(1) == (there(groups), "")
    assert groups.of_cursor_id(4) is None
    makes_room = CursorIdGiven(1, "c", 4, "a")
    journal.append_state(encode_state(makes_room), at(0), queue=holder_of(makes_room))
    assert there(groups).cursor_ids == {"b": 3, "c": 4}
    assert (groups.of_cursor_id(2), there(groups).granted(2)) == (None, {})
    journal.append_state(encode_state(GroupGone(1)), at(0), queue=holder_of(GroupGone(1)))
    assert (groups.ids(), groups.next_id) == ([], 5)


def test_queues_that_are_gone_have_no_grants() -> None:
    rows = GrantRow(5, 1, "a"), GrantRow(6, 1, "a")
    groups, _ = fold(GroupPut(group(1)), granted(1, *rows), QueuesGone(1, (5, 99)))
    assert there(groups).granted(1) == {6: rows[1]}


def test_the_members_of_a_work_group_are_remembered_while_they_are_there() -> None:
    changes = RosterChanged(1, ("a", "b")), RosterChanged(1, ("c",), ("a", "z"))
    groups, journal = fold(GroupPut(group(1, model="work")), *changes, RosterChanged(2, ("x",)))
    assert list(there(groups).roster) == ["b", "c"]
    again = GroupPut(group(1, model="work_fifo"))
    journal.append_state(encode_state(again), at(0), queue=holder_of(again))
    assert list(there(groups).roster) == ["b", "c"]
    assert (there(groups).cursor_id_of("b"), there(groups).holder_of("b")) == (1, EVERYBODY)
    restored = Groups()
    restored.restore(1, groups.snapshot(1))
    assert list(there(restored).roster) == ["b", "c"]
    assert there(fold(GroupPut(group(1)))[0]).holder_of("b") == "b"


def test_a_slice_that_was_written_before_there_were_work_groups_is_restored() -> None:
    groups, _ = fold(GroupPut(group(1)), granted(1, GrantRow(5, 1, "a")))
    id_max, rows = groups.snapshot(1)
    restored = Groups()
    restored.restore(1, [id_max, [row[:3] for row in rows]])
    assert restored.digest() == groups.digest()


def test_topics_and_groups_leave_each_others_records_alone() -> None:
    groups, catalogue = Groups(), Catalogue()
    journal = MemoryJournal(groups, catalogue)
    for state in (GroupPut(group(5)), TopicGone(5)):
        record = journal.append_state(encode_state(state), at(0), queue=holder_of(state))
        assert (groups.bucket_of(record) < 0) != (catalogue.bucket_of(record) < 0)
    assert len(groups) == 1


ids = st.sampled_from([1, 2, 3, 65, 66, 200])
records = st.lists(
    st.one_of(
        st.builds(lambda one, name: GroupPut(group(one, name)), ids, st.sampled_from("abc")),
        st.builds(GroupGone, ids),
        st.builds(
            lambda one, queue, generation, member: granted(
                one, GrantRow(queue, generation, member)
            ),
            ids,
            st.integers(1, 9),
            st.integers(1, 9),
            st.sampled_from(["", "m", "n"]),
        ),
        st.builds(lambda one, queue: QueuesGone(one, (queue,)), ids, st.integers(1, 9)),
        st.builds(
            lambda one, member, forgets: CursorIdGiven(one, member, 0, forgets, 5),
            ids,
            st.sampled_from(["m", "n"]),
            st.sampled_from(["", "m", "n"]),
        ),
        st.builds(
            lambda one, came, went: RosterChanged(one, tuple(came), tuple(went)),
            ids,
            st.lists(st.sampled_from("mno"), unique=True),
            st.lists(st.sampled_from("mno"), unique=True),
        ),
    ),
    max_size=30,
)


def possible(states: list[StateRecord]) -> list[StateRecord]:
    """Without groups that would take the name of another one, or change theirs; cursor ids are
    given once."""
    found: list[StateRecord] = []
    names: dict[int, str] = {}
    for index, state in enumerate(states):
        if isinstance(state, GroupPut):
            group_id, name = state.group.group_id, state.group.name
            if names.get(group_id, name) != name or name in set(names.values()) - {
                names.get(group_id)
            }:
                continue
            names[group_id] = name
        elif isinstance(state, GroupGone):
            names.pop(state.group_id, None)
        elif isinstance(state, CursorIdGiven):
            if state.member == state.forgets:
                continue
            state = msgspec.structs.replace(state, cursor_id=1_000 + index)
        found.append(state)
    return found


@given(records.map(possible), st.data())
def test_replay_over_slices_of_any_moments_gives_the_live_state(
    states: list[StateRecord], data: st.DataObject
) -> None:
    live, journal = fold(*states)
    restored = Groups()
    moments = data.draw(st.lists(st.integers(0, len(states)), min_size=BUCKETS, max_size=BUCKETS))
    for bucket, moment in enumerate(moments):
        state = fold(*states[:moment])[0].snapshot(bucket)
        if state is not None:
            plain = msgspec.msgpack.decode(msgspec.msgpack.encode(state))
            restored.restore(bucket, plain)
    for index, record in enumerate(journal.records):
        if index >= moments[restored.bucket_of(record)]:
            restored.apply(record)
    assert restored.digest() == live.digest()
    assert restored.next_id == live.next_id
    assert restored.names() == live.names()
