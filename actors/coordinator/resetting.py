"""Resetting: an operator moves a group's cursors, and hears from the shards where they are now.

Owns the resets that wait for shards. Knows neither how grants reach a shard nor who may hold a
queue. A reset is a grant: who holds a queue (or nobody) gets it anew, with a position that its
cursor moves to. So a reset is as durable and as certain as any grant, its holder stops what it was
doing and goes on from there, and what it acks by the former generation is refused.

A shard that is down holds up nobody: the answer says that its cursors move when it is back, and
leaves once that is durable. A dry run asks shards and changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from ..kernel.ports import Letter, Now
from ..protocol.codes import Code
from ..protocol.group_messages import (
    GrantQueue,
    GroupReset,
    GroupResetReply,
    ResetResult,
)
from ..protocol.limits import REQUEST_QUEUES_MAX
from .granting import Granting, Outcome
from .groups import GroupState
from .ledger import Ledger
from .parking import Asker
from .plans import NOBODY, Place, Plans, start_of
from .rebalancing import Rebalancing
from .records import Position
from .subscribing import position_of
from .timers import Timers
from .topics import Refused

__all__ = ["RESETS_MAX", "Resetting"]

RESETS_MAX = 1_000
"""Resets that wait for shards, then BUSY."""
BUSY_RETRY_MS = 1_000
_NAMES_MAX = 5
DEADLINE_SHARE = 0.8
"""Of the time that the asker has, shards get so much to answer."""


class _Reset:
    """One request. Its results come one by one, and leave together, once what was decided for it
    is durable."""

    __slots__ = ("asker", "mark", "missing", "results")

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.mark = 0
        self.results: dict[_Key, ResetResult] = {}
        self.missing: dict[_Key, _Awaited] = {}


class _Key(NamedTuple):
    cursor_id: int
    queue: int


class _Awaited(NamedTuple):
    """What one queue's answer will have to say."""

    place: Place
    member: str
    generation: int
    """At least; of a probe 0."""
    probe: int
    """Request that asks for it; 0: a grant."""


class Resetting:
    """The resets of one coordinator."""

    def __init__(
        self, ledger: Ledger, plans: Plans, rebalancing: Rebalancing, granting: Granting
    ) -> None:
        self._ledger = ledger
        self._plans = plans
        self._rebalancing = rebalancing
        self._granting = granting
        self._resets: dict[_Reset, None] = {}
        self._ends: Timers[_Reset] = Timers()
        self._out: list[Letter] = []

    def __len__(self) -> int:
        return len(self._resets)

    @property
    def wake_at_ms(self) -> float | None:
        return self._ends.wake_at_ms

    def reset(self, wish: GroupReset, state: GroupState, asker: Asker, now: Now) -> None:
        """Begins a reset; the answer comes out of a later turn.

        Raises:
            Refused: the group does not read that, too many resets wait, or the journal takes
                nothing; some of the cursors may move all the same in the last case.
        """
        if len(self._resets) >= RESETS_MAX:
            text = f"{RESETS_MAX} resets wait for shards"
            raise Refused(Code.BUSY, text, retry_after_ms=BUSY_RETRY_MS)
        positions = self._positions(wish, state)
        cursors = _cursors_of(state)
        if not cursors:
            raise Refused(Code.INVALID_ARGUMENT, f"{wish.group} never had a member with cursors")
        if len(cursors) * len(positions) > REQUEST_QUEUES_MAX:
            count = len(cursors) * len(positions)
            text = f"a reset moves at most {REQUEST_QUEUES_MAX} cursors, not {count}"
            raise Refused(Code.INVALID_ARGUMENT, f"{text}; name some queues")
        reset = _Reset(asker)
        begin = self._probe if wish.dry_run else self._grant
        for cursor_id, member in cursors:
            begin(reset, state, cursor_id, member, positions, now)
        reset.mark = self._ledger.end
        self._resets[reset] = None
        self._ends.set(reset, now.mono_ms + asker.route.tail * DEADLINE_SHARE)

    def outcome(self, outcome: Outcome) -> None:
        """A shard answered for one queue."""
        key = _Key(outcome.cursor_id, outcome.asked.queue)
        for reset in self._resets:
            awaited = reset.missing.get(key)
            if awaited is None or awaited.probe != outcome.probe:
                continue
            if not outcome.probe:
                is_it = outcome.asked.reset and outcome.asked.generation >= awaited.generation
                if not is_it or outcome.result.code != Code.OK:
                    continue  # it is fenced and comes again with a higher generation
            del reset.missing[key]
            reset.results[key] = ResetResult(
                queue_id=awaited.place.queue_id,
                queue=key.queue,
                code=outcome.result.code,
                before=outcome.result.before,
                after=outcome.result.floor,
                message=outcome.result.message or awaited.member,
            )

    def shard_down(self, shard: int) -> None:
        """A shard went: nobody waits for it."""
        for reset in self._resets:
            text = f"shard {shard} is down"
            self._give_up(reset, Code.UNAVAILABLE, text, shard)

    def turn(self, now: Now) -> list[Letter]:
        """Answers, and what shards are to be asked."""
        for reset in self._ends.due(now.mono_ms):
            self._give_up(reset, Code.TIMED_OUT, "the shard has not answered in time")
        durable = self._ledger.durable
        for reset in [one for one in self._resets if not one.missing and one.mark <= durable]:
            del self._resets[reset]
            self._ends.drop(reset)
            results = [reset.results[key] for key in sorted(reset.results)]
            self._out.append(reset.asker.answer(GroupResetReply(queues=results)))
        out, self._out = self._out, []
        return out

    def stop(self, text: str) -> list[Letter]:
        """Answers all who wait."""
        resets, self._resets = self._resets, {}
        return [reset.asker.refuse(Code.SHUTTING_DOWN, text) for reset in resets]

    # --- one reset -----------------------------------------------------------------------------

    def _positions(self, wish: GroupReset, state: GroupState) -> dict[int, Position]:
        """Queue number -> where its cursor goes."""
        places = {
            place.queue_id: place
            for place in self._plans.of(state.group).values()
            if place.topic == wish.topic
        }
        if not places:
            raise _nothing_to_move(wish, state, self._plans.has_topic(wish.topic))
        if not wish.queues:
            return dict.fromkeys((one.number for one in places.values()), position_of(wish.to))
        found: dict[int, Position] = {}
        for one in wish.queues:
            place = places.get(one.queue_id)
            if place is None:
                text = f"{wish.topic} has no queue {one.queue_id}"
                raise Refused(Code.INVALID_ARGUMENT, text)
            if place.number in found:
                raise Refused(Code.INVALID_ARGUMENT, f"queue {one.queue_id} is named twice")
            found[place.number] = Position("offset", offset=one.offset)
        return found

    def _grant(
        self,
        reset: _Reset,
        state: GroupState,
        cursor_id: int,
        member: str,
        positions: dict[int, Position],
        now: Now,
    ) -> None:
        division = self._rebalancing.division(state, cursor_id)
        plan = division.plan = self._plans.of(state.group)
        self._rebalancing.grant_again(division, positions, now, resets=positions)
        self._rebalancing.want(division, now)
        for queue in positions:
            row = division.row(queue)
            assert row is not None, "it was granted just now"
            self._await(reset, cursor_id, _Awaited(plan[queue], member, row.generation, 0))

    def _probe(
        self,
        reset: _Reset,
        state: GroupState,
        cursor_id: int,
        member: str,
        positions: dict[int, Position],
        now: Now,
    ) -> None:
        plan = self._plans.of(state.group)
        by_shard: dict[int, dict[int, GrantQueue]] = {}
        for queue, position in positions.items():
            place = plan[queue]
            by_shard.setdefault(place.shard, {})[queue] = GrantQueue(
                queue=queue,
                generation=0,
                expression=place.expression,
                start=start_of(position),
                reset=True,
            )
        for shard, queues in by_shard.items():
            probe = 0
            if self._granting.is_up(shard):
                probe, letter = self._granting.probe(shard, cursor_id, queues, now)
                self._out.append(letter)
            for queue in queues:
                self._await(reset, cursor_id, _Awaited(plan[queue], member, 0, probe))

    def _await(self, reset: _Reset, cursor_id: int, awaited: _Awaited) -> None:
        reset.missing[_Key(cursor_id, awaited.place.number)] = awaited
        if not self._granting.is_up(awaited.place.shard):
            text = f"shard {awaited.place.shard} is down"
            self._give_up(reset, Code.UNAVAILABLE, text, awaited.place.shard)

    def _give_up(self, reset: _Reset, code: Code, text: str, shard: int | None = None) -> None:
        """Answers for the queues of a shard (None: of all) without it."""
        for key, awaited in list(reset.missing.items()):
            if shard in (None, awaited.place.shard):
                del reset.missing[key]
                is_decided = awaited.generation > 0
                promise = f"{text}; the cursor moves when it is back" if is_decided else text
                reset.results[key] = ResetResult(
                    queue_id=awaited.place.queue_id, queue=key.queue, code=code, message=promise
                )


def _nothing_to_move(wish: GroupReset, state: GroupState, is_there: bool) -> Refused:
    """`is_there`: whether the topic exists."""
    read = [one.topic for one in state.group.topics]
    if wish.topic in read or not is_there:
        return Refused(Code.TOPIC_NOT_FOUND, f"there is no topic {wish.topic[:127]} (any more)")
    names = ", ".join(read[:_NAMES_MAX])
    more = f" and {len(read) - _NAMES_MAX} more" if len(read) > _NAMES_MAX else ""
    text = f"{wish.group} does not read `topic` {wish.topic[:80]!r}; it reads {names}{more}"
    return Refused(Code.INVALID_ARGUMENT, text)


def _cursors_of(state: GroupState) -> list[tuple[int, str]]:
    """(cursor id, member it belongs to) of all cursors that the group has."""
    if state.group.model == "broadcasting":
        return [(cursor_id, member) for member, cursor_id in state.cursor_ids.items()]
    return [(state.group.group_id, NOBODY)]
