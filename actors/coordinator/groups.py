"""The groups: every consumer group there is, as a fold over the coordinator's journal.

Owns the groups by id and by name, the grants in force on their queues, and the counter behind the
ids. Knows no rules (`subscribing.py`), no members and no shards. Where a group is in a queue, only
the shard knows.

As in `catalogue.py` the state is cut into buckets by id, and whatever a record changes lies in the
bucket of its group: the cursor ids that members of a broadcasting group have for themselves, too,
though they are numbers of the same sequence. The highest number that a bucket has seen outlives
those that had it, so no id is given twice, and with a new id generations start anew without harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ..kernel.ports import Record
from ..protocol.checksum import crc32c
from ..protocol.work_messages import EVERYBODY, WORK_MODELS
from .catalogue import STATE_KIND
from .records import (
    GROUP_BIT,
    CursorIdGiven,
    Granted,
    GrantRow,
    Group,
    GroupGone,
    GroupPut,
    QueuesGone,
    RosterChanged,
    decode_state,
)

__all__ = ["BUCKETS", "GroupState", "Groups"]

BUCKETS = 64

_encode = msgspec.msgpack.Encoder().encode


class GroupState:
    """What is durable of one group.

    Attributes:
        grants: by cursor id, then by queue number. One cursor id, the group's, when clustering.
        cursor_ids: of broadcasting members by name, the oldest first.
        queue_max: by cursor id of broadcasting members, the highest queue number there was before
            it: older queues begin where the group's start says, later ones at their own start.
        roster: names of a work group's members, in the order in which they came.
    """

    __slots__ = ("cursor_ids", "grants", "group", "queue_max", "roster")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.grants: dict[int, dict[int, GrantRow]] = {}
        self.cursor_ids: dict[str, int] = {}
        self.queue_max: dict[int, int] = {}
        self.roster: dict[str, None] = {}

    def cursor_id_of(self, member: str) -> int:
        """Under which id a member's cursors are kept; 0 if it has yet to get one."""
        if self.group.model == "broadcasting":
            return self.cursor_ids.get(member, 0)
        return self.group.group_id

    @property
    def is_work(self) -> bool:
        """Whether its members hold all queues together."""
        return self.group.model in WORK_MODELS

    def holder_of(self, member: str) -> str:
        """In whose name a member holds queues."""
        return EVERYBODY if self.is_work else member

    def granted(self, cursor_id: int) -> dict[int, GrantRow]:
        """The grants under one cursor id. Not to be changed."""
        return self.grants.get(cursor_id, {})


class _Bucket:
    __slots__ = ("groups", "id_max")

    def __init__(self) -> None:
        self.groups: dict[int, GroupState] = {}
        self.id_max = 0


class Groups:
    """Projection: the consumer groups."""

    name = "groups"
    buckets = BUCKETS

    def __init__(self) -> None:
        self._buckets = [_Bucket() for _ in range(BUCKETS)]
        self._by_name: dict[str, GroupState] = {}
        self._by_cursor_id: dict[int, tuple[int, str]] = {}
        self._names: list[str] | None = None

    # --- what the rules ask ------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def ids_count(self) -> int:
        """Ids in use: of groups, and of their broadcasting members' cursors."""
        return len(self._by_name) + len(self._by_cursor_id)

    def named(self, name: str) -> GroupState | None:
        """The group of that name."""
        return self._by_name.get(name)

    def get(self, group_id: int) -> GroupState | None:
        """The group of that id."""
        return self._buckets[group_id % BUCKETS].groups.get(group_id)

    def of_cursor_id(self, cursor_id: int) -> tuple[GroupState, str] | None:
        """The group that a cursor id belongs to; and the member, if it is a member's own."""
        group_id, member = self._by_cursor_id.get(cursor_id, (cursor_id, ""))
        state = self.get(group_id)
        return None if state is None else (state, member)

    def all(self) -> Iterator[GroupState]:
        """Every group, in no order that means anything."""
        return iter(self._by_name.values())

    def names(self) -> list[str]:
        """All names, sorted. The list must not be changed."""
        if self._names is None:
            self._names = sorted(self._by_name)
        return self._names

    def ids(self) -> list[int]:
        """All ids in use, in no order that means anything."""
        return [*(state.group.group_id for state in self._by_name.values()), *self._by_cursor_id]

    @property
    def next_id(self) -> int:
        """Never given before; from 1."""
        return 1 + max(bucket.id_max for bucket in self._buckets)

    # --- the projection ----------------------------------------------------------------------

    def bucket_of(self, record: Record) -> int:
        is_group = record.kind == STATE_KIND and record.queue & GROUP_BIT
        return (record.queue ^ GROUP_BIT) % BUCKETS if is_group else -1

    def apply(self, record: Record) -> None:
        state = decode_state(record.payload)
        if isinstance(state, GroupPut):
            self._put(state.group)
        elif isinstance(state, GroupGone):
            self._remove(state.group_id)
        elif isinstance(state, Granted):
            self._grant(state)
        elif isinstance(state, QueuesGone):
            self._forget_queues(state)
        elif isinstance(state, CursorIdGiven):
            self._give_cursor_id(state)
        elif isinstance(state, RosterChanged):
            self._enroll(state)

    def snapshot(self, bucket: int) -> Any:
        held = self._buckets[bucket]
        if not held.id_max:
            return None
        return [held.id_max, [_plain(held.groups[one]) for one in sorted(held.groups)]]

    def restore(self, bucket: int, state: Any) -> None:
        for group_id in list(self._buckets[bucket].groups):
            self._remove(group_id)
        held = self._buckets[bucket] = _Bucket()
        id_max, groups = state
        for group, cursor_ids, grants, *later in groups:
            found = self._put(msgspec.convert(group, Group))
            found.roster = dict.fromkeys(later[0] if later else ())
            for member, cursor_id, queue_max in cursor_ids:
                self._name_cursor_id(found, member, cursor_id, queue_max)
            for cursor_id, rows in grants:
                converted = msgspec.convert(rows, list[GrantRow])
                found.grants[cursor_id] = {row.queue: row for row in converted}
        held.id_max = id_max

    def digest(self) -> int:
        states: list[Any] = [self.snapshot(bucket) for bucket in range(BUCKETS)]
        return crc32c(_encode(states))

    # --- records -----------------------------------------------------------------------------

    def _put(self, group: Group) -> GroupState:
        held = self._buckets[group.group_id % BUCKETS]
        state = held.groups.get(group.group_id)
        if state is None:
            state = held.groups[group.group_id] = GroupState(group)
        state.group = group
        held.id_max = max(held.id_max, group.group_id)
        known = self._by_name.get(group.name)
        if known is None or known.group.group_id <= group.group_id:
            if known is None:
                self._names = None
            self._by_name[group.name] = state
        return state

    def _remove(self, group_id: int) -> None:
        state = self._buckets[group_id % BUCKETS].groups.pop(group_id, None)
        if state is None:
            return
        for cursor_id in state.cursor_ids.values():
            del self._by_cursor_id[cursor_id]
        if self._by_name.get(state.group.name) is state:
            del self._by_name[state.group.name]
            self._names = None

    def _grant(self, granted: Granted) -> None:
        state = self.get(granted.group_id)
        if state is not None:
            rows = state.grants.setdefault(granted.cursor_id, {})
            rows.update((row.queue, row) for row in granted.rows)

    def _forget_queues(self, gone: QueuesGone) -> None:
        state = self.get(gone.group_id)
        for rows in () if state is None else state.grants.values():
            for queue in gone.queues:
                rows.pop(queue, None)

    def _give_cursor_id(self, given: CursorIdGiven) -> None:
        state = self.get(given.group_id)
        if state is None:
            return
        forgotten = state.cursor_ids.pop(given.forgets, None)
        if forgotten is not None:
            state.grants.pop(forgotten, None)
            state.queue_max.pop(forgotten, None)
            del self._by_cursor_id[forgotten]
        self._name_cursor_id(state, given.member, given.cursor_id, given.queue_max)

    def _enroll(self, changed: RosterChanged) -> None:
        state = self.get(changed.group_id)
        if state is None:
            return
        for name in changed.went:
            state.roster.pop(name, None)
        state.roster.update(dict.fromkeys(changed.came))

    def _name_cursor_id(
        self, state: GroupState, member: str, cursor_id: int, queue_max: int
    ) -> None:
        group_id = state.group.group_id
        state.cursor_ids[member] = cursor_id
        state.queue_max[cursor_id] = queue_max
        self._by_cursor_id[cursor_id] = (group_id, member)
        held = self._buckets[group_id % BUCKETS]
        held.id_max = max(held.id_max, cursor_id)


def _plain(state: GroupState) -> list[Any]:
    grants = [
        [cursor_id, [msgspec.to_builtins(rows[queue]) for queue in sorted(rows)]]
        for cursor_id, rows in sorted(state.grants.items())
        if rows
    ]
    cursor_ids = [
        [member, cursor_id, state.queue_max[cursor_id]]
        for member, cursor_id in state.cursor_ids.items()
    ]
    return [msgspec.to_builtins(state.group), cursor_ids, grants, list(state.roster)]
