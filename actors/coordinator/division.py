"""A division: how queues are divided among the members that share cursors, and how that changes.

Owns, for one cursor id, which queue shall go where and how far each move has come. Decides what is
to be granted; the grants themselves are durable (`groups.py`), told to shards by `granting.py`.
Members of a clustering group share one division; each member of a broadcasting group has its own. A
work group's has a single holder, EVERYBODY, in whose name all members use what it holds.

A queue that is to move stays with its holder until that has let go of it:

    held ──► revoked ──► released ──► granted to the new holder ──► confirmed: shown to it
      │  wanted   │  the holder names it,     durable here,       the shard
      │ elsewhere │  or is gone, or had a     then told           has it
      ◄───────────┘  lease's time for it
    wanted here again

A grant that its holder has never been shown needs no release: nobody can have used it. Nor does one
whose expression is outdated: its holder, which stays, has asked for another one itself. After a
restart any grant may have been shown before, or be news to its shard: it needs a release, and is
shown again when the shard has confirmed it. A reset is part of a grant and goes over to the next
one until it is confirmed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ..protocol.group_messages import AssignedQueue, HeldQueue
from ..protocol.limits import REQUEST_QUEUES_MAX
from .plans import NOBODY, Place, Plan
from .records import GrantRow, Position

__all__ = ["MEMBER_QUEUES_MAX", "Division"]

MEMBER_QUEUES_MAX = REQUEST_QUEUES_MAX
"""Queues of one member; they have to fit in one answer. What is above waits for more members."""


class Division:
    """One cursor id.

    Attributes:
        news: members whose view has changed; taken by whoever tells them.
        plan: as of the last rebalance.
        rebalance_at_ms: when it wants the next one; None: it is at rest.
        rebalanced_at_ms: when it had the last one.
    """

    def __init__(self, group_id: int, cursor_id: int, rows: Mapping[int, GrantRow]) -> None:
        """`rows`: the grants in force, after a restart."""
        self.group_id = group_id
        self.cursor_id = cursor_id
        self.plan: Plan = {}
        self.rebalance_at_ms: float | None = None
        self.rebalanced_at_ms = float("-inf")
        self.news: dict[str, None] = {}
        self._rows = dict(rows)
        self._wanted: dict[int, str] = {}
        self._held: dict[str, set[int]] = {}
        self._unconfirmed: set[int] = set()
        self._unshown: set[int] = set()
        self._revoked: dict[int, float] = {}
        """Queue -> until when its holder has time (monotonic, ms)."""
        self._released: set[int] = set()
        self._last_view: tuple[str, Plan, list[AssignedQueue]] | None = None
        for row in rows.values():
            self._unconfirmed.add(row.queue)
            if row.member:
                self._held.setdefault(row.member, set()).add(row.queue)

    # --- what is so ----------------------------------------------------------------------------

    @property
    def moving(self) -> int:
        """Queues that are revoked, or granted and not yet confirmed."""
        return len(self._revoked) + len(self._unconfirmed)

    @property
    def impatient_at_ms(self) -> float | None:
        """When the next holder's time to release is over."""
        return min(self._revoked.values(), default=None)

    def row(self, queue: int) -> GrantRow | None:
        """The grant in force on a queue."""
        return self._rows.get(queue)

    def rows(self) -> Iterable[GrantRow]:
        """All grants in force, those to nobody, too."""
        return self._rows.values()

    def holders(self) -> list[str]:
        """Names in grants in force."""
        return [member for member, queues in self._held.items() if queues]

    def held_by(self, member: str) -> int:
        """How many queues a member holds, shown or not."""
        return len(self._held.get(member, ()))

    def is_waiting(self, member: str) -> bool:
        """Whether shards have yet to confirm something that the member holds."""
        return not self._unconfirmed.isdisjoint(self._held.get(member, ()))

    def view(self, member: str) -> list[AssignedQueue]:
        """All that a member may use. Not to be changed: all members of a work group are shown the
        same."""
        if self._last_view is not None:
            name, plan, known = self._last_view
            if name == member and plan is self.plan:
                return known
        found = []
        for queue in sorted(self._held.get(member, ())):
            place = self.plan.get(queue)
            if place is None or queue in self._unconfirmed or queue in self._released:
                continue
            found.append(
                AssignedQueue(
                    topic=place.topic,
                    queue_id=place.queue_id,
                    queue=queue,
                    shard=place.shard,
                    generation=self._rows[queue].generation,
                    revoked=queue in self._revoked,
                )
            )
        self._last_view = member, self.plan, found
        return found

    def pending_reset(self, queue: int) -> Position | None:
        """A reset that no shard has confirmed: the next grant has to carry it on."""
        return self._rows[queue].reset if queue in self._unshown else None

    def current(self) -> dict[int, str]:
        """Who shall have which queue, or has it: what a sticky strategy keeps."""
        return {queue: row.member for queue, row in self._rows.items()} | self._wanted

    # --- what shall be -------------------------------------------------------------------------

    def rebalance(
        self,
        plan: Plan,
        wanted: Mapping[int, str],
        alive: Mapping[str, float],
        *,
        may_revoke: bool,
    ) -> list[tuple[int, str]]:
        """Takes a new aim; the (queue, member) that can be granted now.

        Args:
            alive: members, with the moment until which each has time to release what it must.
            may_revoke: False while members may still return: nothing is taken from anybody.
        """
        self.plan = plan
        self._wanted = capped(wanted)
        free = []
        for queue, place in plan.items():
            row = self._rows.get(queue)
            holder = NOBODY if row is None else row.member
            member = self._wanted.get(queue, NOBODY)
            stays = holder == member and not self._is_outdated(row, place)
            if stays and queue not in self._released:
                if self._revoked.pop(queue, None) is not None:
                    self._changed(holder)
            elif row is not None and self._is_in_doubt(row):
                continue
            elif (
                holder not in alive
                or holder == member
                or queue in self._released
                or queue in self._unshown
            ):
                free.append((queue, member))
            elif may_revoke and queue not in self._revoked:
                self._revoked[queue] = alive[holder]
                self._changed(holder)
        return free

    def _is_outdated(self, row: GrantRow | None, place: Place) -> bool:
        """Whether a shard selects messages by an expression that is the group's no more. Who asked
        for another one gets its own queues anew."""
        return row is not None and bool(row.member) and row.revision != place.revision

    def _is_in_doubt(self, row: GrantRow) -> bool:
        """Whether a former run of the coordinator reset a cursor, and the shard may not know. If it
        does, its members went on from there, and must not be set back again."""
        is_unknown = row.queue in self._unconfirmed and row.queue not in self._unshown
        return row.reset is not None and is_unknown

    def leftover(self) -> list[int]:
        """Queues with a holder that are not in the plan any more."""
        return [queue for queues in self._held.values() for queue in queues - self.plan.keys()]

    def released(self, member: str, queues: Iterable[HeldQueue]) -> bool:
        """A member stopped reading queues; True if that says anything new."""
        is_news = False
        for held in queues:
            row = self._rows.get(held.queue)
            if row is not None and (row.member, row.generation) == (member, held.generation):
                is_news |= held.queue not in self._released
                self._released.add(held.queue)
                self._last_view = None
        return is_news

    def abandoned(self, member: str) -> None:
        """A member is gone. Should one of that name come again, it gets new generations, so that
        the shards tell both apart."""
        self._released |= self._held.get(member, set())
        self._last_view = None

    def impatient(self, now_ms: float) -> bool:
        """Counts queues as released whose holder's time is over; True if there are any."""
        late = [queue for queue, until_ms in self._revoked.items() if until_ms <= now_ms]
        for queue in late:
            self._released.add(queue)
            self._changed(self._rows[queue].member)
            del self._revoked[queue]
        return bool(late)

    # --- what happened -------------------------------------------------------------------------

    def granted(self, row: GrantRow) -> None:
        """A grant was decided, in place of the queue's former one."""
        queue = row.queue
        self._leave_holder(queue)
        self._rows[queue] = row
        self._unconfirmed.add(queue)
        self._unshown.add(queue)
        if row.member:
            self._held.setdefault(row.member, set()).add(queue)

    def confirmed(self, queue: int) -> bool:
        """The queue's shard has the grant in force; True if a rebalance had to wait for that."""
        if queue not in self._unconfirmed:
            return False
        row = self._rows[queue]
        was_in_doubt = self._is_in_doubt(row)
        self._unconfirmed.discard(queue)
        self._unshown.discard(queue)
        if row.member:
            self._changed(row.member)
        return was_in_doubt

    def gone(self, queues: Collection[int]) -> None:
        """Queues exist no more."""
        for queue in queues:
            self._leave_holder(queue)
            self._rows.pop(queue, None)
            self._wanted.pop(queue, None)
            self._unconfirmed.discard(queue)
            self._unshown.discard(queue)

    def _changed(self, member: str) -> None:
        """What a member is shown is not what it was."""
        self.news[member] = None
        self._last_view = None

    def _leave_holder(self, queue: int) -> None:
        former = self._rows.get(queue)
        if former is not None and former.member:
            queues = self._held[former.member]
            queues.discard(queue)
            if not queues:
                del self._held[former.member]
            self._changed(former.member)
        self._revoked.pop(queue, None)
        self._released.discard(queue)


def capped(wanted: Mapping[int, str]) -> dict[int, str]:
    """`wanted` without what is too much for one member."""
    if len(wanted) <= MEMBER_QUEUES_MAX:
        return dict(wanted)
    counts: dict[str, int] = {}
    kept = {}
    for queue, member in wanted.items():
        counts[member] = counts.get(member, 0) + 1
        if counts[member] <= MEMBER_QUEUES_MAX:
            kept[queue] = member
    return kept
