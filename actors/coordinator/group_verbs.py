"""Group verbs: what the coordinator answers to those who use, list, look at and delete groups.

Owns the step from a request's header to records, events of members and a reply. The rules are in
`subscribing.py`; who gets which queue is up to `rebalancing.py`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from ..kernel.ports import Now
from ..protocol import group_messages as g
from ..protocol.codec import HeaderError, decode_header
from ..protocol.codes import Code
from ..protocol.limits import GROUP_MEMBERS_MAX, GROUPS_MAX
from ..protocol.messages import Header
from ..protocol.verbs import Verb
from ..protocol.work_messages import EVERYBODY
from .catalogue import Catalogue
from .decisions import Answer, Decisions
from .groups import Groups, GroupState
from .ledger import Ledger
from .membership import MEMBERS_MAX, Membership
from .parking import Asker
from .plans import NOBODY, Plans
from .rebalancing import Rebalancing
from .records import CursorIdGiven, Group, GroupGone, GroupPut
from .resetting import Resetting
from .subscribing import (
    check_join,
    check_queues,
    expressions_of,
    group_after,
    lease_of,
    own_topics,
    retry_topic,
    subscriptions_of,
)
from .topics import Refused

__all__ = ["IDS_MAX", "GroupVerbs"]

IDS_MAX = 100_000
"""Groups and broadcasting members with cursors; shards are told of all in one list."""
LIST_COUNT_MAX = 10_000
NAMES_MAX = 5
BUSY_RETRY_MS = 1_000

_Row = tuple[type[Any], Callable[[Any, Asker, Now], Answer | None]]


class GroupVerbs:
    """Decides on groups and members."""

    def __init__(
        self,
        ledger: Ledger,
        catalogue: Catalogue,
        decisions: Decisions,
        groups: Groups,
        plans: Plans,
        membership: Membership,
        rebalancing: Rebalancing,
        resetting: Resetting,
        *,
        group_gone: Callable[[list[int], int], None],
    ) -> None:
        """`group_gone` hears of ids that are gone once all below a mark is durable."""
        self._ledger = ledger
        self._catalogue = catalogue
        self._decisions = decisions
        self._groups = groups
        self._plans = plans
        self._membership = membership
        self._rebalancing = rebalancing
        self._resetting = resetting
        self._group_gone = group_gone
        self._by_verb: dict[int, _Row] = {
            Verb.GROUP_JOIN: (g.GroupJoin, self._join),
            Verb.EVENTS: (g.Events, self._events),
            Verb.GROUP_LEAVE: (g.GroupLeave, self._leave),
            Verb.GROUP_LIST: (g.GroupList, self._list),
            Verb.GROUP_DESCRIBE: (g.GroupDescribe, self._describe),
            Verb.GROUP_DELETE: (g.GroupDelete, self._delete),
            Verb.GROUP_RESET: (g.GroupReset, self._reset),
            Verb.SESSIONS_GONE: (g.SessionsGone, self._sessions_gone),
        }

    def has(self, verb: int) -> bool:
        """Whether the verb is about groups."""
        return verb in self._by_verb

    def decide(self, asker: Asker, header: bytes, now: Now) -> Answer | None:
        """The answer to a request, its records appended; None if it comes later.

        Raises:
            Refused: the header, the rules or the disk do not allow it.
        """
        kind, decide = self._by_verb[asker.route.verb]
        return decide(_decoded(header, kind, asker), asker, now)

    # --- members -------------------------------------------------------------------------------

    def _join(self, wish: g.GroupJoin, asker: Asker, now: Now) -> Answer:
        check_join(wish)
        state = self._groups.named(wish.group)
        known = None if state is None else state.group
        there = {} if known is None else self._membership.of(known.group_id)
        is_new = wish.member not in there
        if is_new:
            self._check_room(known is None, len(there))
        group = group_after(
            wish,
            known,
            [name for name in there if name != wish.member],
            group_id=self._groups.next_id,
            queue_max=self._catalogue.next_queue - 1,
            now_wall_ms=now.wall_ms,
        )
        if is_new or group != known:
            check_queues(wish, sum(map(self._decisions.queues_of, expressions_of(wish))))
        waits_for_shards = self._ensure_topics(wish, is_new, now)
        state = self._put(group, known, now)
        cursor_id = state.cursor_id_of(wish.member) or self._new_cursor_id(state, wish.member, now)
        lease_ms = lease_of(wish)
        self._rebalancing.joined(state, cursor_id, wish.member, lease_ms, asker, now)
        reply = g.GroupJoinReply(
            group_id=cursor_id,
            lease_ms=lease_ms,
            strategy=group.strategy,  # type: ignore[arg-type]
        )
        return Answer(reply, waits_for_shards)

    def _check_room(self, is_new_group: bool, members: int) -> None:
        text = None
        if is_new_group and len(self._groups) >= GROUPS_MAX:
            text = f"there are {GROUPS_MAX} groups, that is all there may be; delete some"
        elif is_new_group and self._groups.ids_count >= IDS_MAX:
            text = f"{IDS_MAX} groups and broadcasting members have cursors; delete some groups"
        elif members >= GROUP_MEMBERS_MAX:
            text = f"the group has {GROUP_MEMBERS_MAX} members, that is all there may be"
        elif len(self._membership) >= MEMBERS_MAX:
            text = f"the broker has {MEMBERS_MAX} members of groups, that is all there may be"
        if text is not None:
            raise Refused(Code.BUSY, text, retry_after_ms=BUSY_RETRY_MS)

    def _ensure_topics(self, wish: g.GroupJoin, is_new: bool, now: Now) -> bool:
        """Makes topics that a member needs; True if shards have to be told of one."""
        topics = len(self._catalogue)
        own = own_topics(wish)
        self._decisions.check_room_for(own)
        for one in wish.subscriptions if is_new else ():
            if self._catalogue.named(one.topic) is None:
                self._decisions.auto_created(one.topic, True, now)
        for name in own:
            self._decisions.ensure_system_topic(name, now)
        return len(self._catalogue) > topics

    def _put(self, group: Group, known: Group | None, now: Now) -> GroupState:
        if group != known:
            self._ledger.append(GroupPut(group), now)
        state = self._groups.get(group.group_id)
        assert state is not None, "a group that was put is there"
        if known is not None and group != known:
            self._plans.unsubscribed(known)
            self._rebalancing.group_changed(state, now)
        return state

    def _new_cursor_id(self, state: GroupState, member: str, now: Now) -> int:
        """An id for the cursors of a broadcasting member. When too many have one, the member goes
        without that got its own first and is not here."""
        group_id = state.group.group_id
        forgets = ""
        is_full = self._groups.ids_count >= IDS_MAX
        if is_full or len(state.cursor_ids) >= GROUP_MEMBERS_MAX:
            there = self._membership.of(group_id)
            forgets = next((name for name in state.cursor_ids if name not in there), "")
            if not forgets:
                text = f"{len(state.cursor_ids)} members of {state.group.name} have cursors"
                raise Refused(Code.BUSY, f"{text}, and all are here", retry_after_ms=BUSY_RETRY_MS)
        forgotten = state.cursor_ids.get(forgets)
        cursor_id = self._groups.next_id
        queue_max = self._catalogue.next_queue - 1
        given = CursorIdGiven(group_id, member, cursor_id, forgets, queue_max)
        mark = self._ledger.append(given, now)
        if forgotten is not None:
            self._rebalancing.forget([forgotten])
            self._group_gone([forgotten], mark)
        return cursor_id

    def _events(self, wish: g.Events, asker: Asker, now: Now) -> None:
        self._rebalancing.events(wish, asker, now)

    def _leave(self, wish: g.GroupLeave, asker: Asker, now: Now) -> Answer:
        self._rebalancing.left(wish.group_id, wish.member, now)
        return Answer(g.GroupLeaveReply())

    def _sessions_gone(self, wish: g.SessionsGone, asker: Asker, now: Now) -> Answer:
        self._membership.sessions_gone(wish.sessions, now)
        return Answer(g.SessionsGoneReply())

    # --- operators -----------------------------------------------------------------------------

    def _list(self, wish: g.GroupList, asker: Asker, now: Now) -> Answer:
        names = self._groups.names()
        first = bisect_right(names, wish.after)
        behind = first + min(max(wish.count_max, 1), LIST_COUNT_MAX)
        found = []
        for name in names[first:behind]:
            group = self._existing(name).group
            members = len(self._membership.of(group.group_id))
            found.append(
                g.GroupSummary(
                    group=name,
                    group_id=group.group_id,
                    model=group.model,  # type: ignore[arg-type]
                    members=members,
                    topics=len(subscriptions_of(group)),
                )
            )
        return Answer(g.GroupListReply(groups=found, more=behind < len(names)))

    def _describe(self, wish: g.GroupDescribe, asker: Asker, now: Now) -> Answer:
        state = self._existing(wish.group)
        group = state.group
        there = self._membership.of(group.group_id)
        divisions = dict(self._rebalancing.divisions_of(state))
        shared = divisions.get(NOBODY)
        members = []
        for name, member in sorted(there.items()):
            own = divisions.get(name, shared)
            members.append(
                g.MemberInfo(
                    member=name,
                    queues=0 if own is None else own.held_by(state.holder_of(name)),
                    lease_ms=member.lease_ms,
                    silent_ms=max(0, int(now.mono_ms - member.heard_at_ms)),
                    group_id=state.cursor_id_of(name),
                )
            )
        queues = []
        for place in self._plans.of(group).values():
            row = None if shared is None else shared.row(place.number)
            holder = NOBODY if row is None else row.member
            queues.append(
                g.QueueOwner(
                    topic=place.topic,
                    queue_id=place.queue_id,
                    queue=place.number,
                    shard=place.shard,
                    generation=0 if row is None else row.generation,
                    owner=holder if holder in there or holder == EVERYBODY else None,
                )
            )
        own_ids = state.cursor_ids.items() if group.model == "broadcasting" else ()
        away = [
            g.MemberInfo(member=name, group_id=cursor_id)
            for name, cursor_id in sorted(own_ids)
            if name not in there
        ]
        description: Header = g.GroupDescription(
            group=group.name,
            group_id=group.group_id,
            model=group.model,  # type: ignore[arg-type]
            strategy=group.strategy,  # type: ignore[arg-type]
            subscriptions=subscriptions_of(group),
            members=members,
            away=away,
            told_at_ms=now.wall_ms,
            queues=queues,
        )
        return Answer(description)

    def _delete(self, wish: g.GroupDelete, asker: Asker, now: Now) -> Answer:
        state = self._existing(wish.group)
        group = state.group
        there = sorted(self._membership.of(group.group_id))
        if there:
            names = ", ".join(there[:NAMES_MAX])
            more = f" and {len(there) - NAMES_MAX} more" if len(there) > NAMES_MAX else ""
            text = f"{group.name} has the members {names}{more}"
            raise Refused(Code.GROUP_IN_USE, text)
        # What waits for another attempt has nobody to make it; dead letters are for people. The
        # topic goes first: should the journal take no more, the group is there to be deleted again.
        self._decisions.delete_system_topic(retry_topic(group.name), now)
        cursor_ids = [group.group_id, *state.cursor_ids.values()]
        mark = self._ledger.append(GroupGone(group.group_id), now)
        self._plans.unsubscribed(group)
        self._rebalancing.forget(cursor_ids)
        self._group_gone(cursor_ids, mark)
        return Answer(g.GroupDeleteReply(group_id=group.group_id))

    def _reset(self, wish: g.GroupReset, asker: Asker, now: Now) -> None:
        self._resetting.reset(wish, self._existing(wish.group), asker, now)

    def _existing(self, name: str) -> GroupState:
        state = self._groups.named(name)
        if state is None:
            raise Refused(Code.GROUP_NOT_FOUND, f"there is no group {name[:80]}")
        return state


def _decoded(header: bytes, kind: type[Any], asker: Asker) -> Any:
    try:
        return decode_header(header, kind, asker.route.flags)
    except HeaderError as error:
        text = f"{Verb(asker.route.verb).name}: {error}"
        raise Refused(Code.BAD_REQUEST, text) from None
