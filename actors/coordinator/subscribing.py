"""Subscription rules: what a group becomes when a member joins it, or why that may not be.

Owns the rules. Pure functions over values; knows neither journal nor who is there.

A group has one subscription: its members share the queues, so a message that one of them does not
want would be lost for the group. Who comes with another subscription is told who is there and how
both differ. With nobody else there, whoever comes decides anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..protocol.codes import Code
from ..protocol.group_messages import GroupJoin, Start, Subscription
from ..protocol.limits import LEASE_MS, LEASE_MS_MAX, LEASE_MS_MIN
from ..protocol.names import why_invalid_group, why_invalid_topic
from ..protocol.tags import TagFilter
from ..protocol.work_messages import EVERYBODY, WORK_MODELS
from .division import MEMBER_QUEUES_MAX
from .records import Group, GroupTopic, Position
from .topics import Refused

__all__ = [
    "MEMBER_CHARS_MAX",
    "check_join",
    "check_queues",
    "dead_letter_topic",
    "expressions_of",
    "group_after",
    "lease_of",
    "own_topics",
    "position_of",
    "retry_topic",
    "subscriptions_of",
]

MEMBER_CHARS_MAX = 255
_NAMES_MAX = 5


def retry_topic(group: str) -> str:
    """The topic through which failed messages of a group come again."""
    return f"%RETRY%{group}"


def dead_letter_topic(group: str) -> str:
    """The topic where messages of a group end that failed too often."""
    return f"%DLQ%{group}"


def check_join(wish: GroupJoin) -> None:
    """Whether the names and numbers of a wish are valid.

    Raises:
        Refused: one of them is not; the text says which.
    """
    if wish.member == EVERYBODY:
        text = f"no member can be called {EVERYBODY!r}: that is all members of a work group"
        raise Refused(Code.INVALID_ARGUMENT, text)
    why = why_invalid_group(wish.group) or _why_invalid_member(wish.member)
    if why is not None:
        raise Refused(Code.INVALID_NAME, why)
    if not wish.subscriptions:
        raise Refused(Code.INVALID_ARGUMENT, "a member subscribes to one topic at least")
    for one in wish.subscriptions:
        why = why_invalid_topic(one.topic)
        if why is not None:
            raise Refused(Code.INVALID_NAME, why)
    if wish.lease_ms and not LEASE_MS_MIN <= wish.lease_ms <= LEASE_MS_MAX:
        text = f"`lease_ms` is {LEASE_MS_MIN} to {LEASE_MS_MAX}, not {wish.lease_ms}"
        raise Refused(Code.INVALID_ARGUMENT, text)
    if wish.retries and wish.model == "broadcasting":
        text = "members of a broadcasting group have no retries: each would have to have its own"
        raise Refused(Code.INVALID_ARGUMENT, text)
    expressions_of(wish)


def expressions_of(wish: GroupJoin) -> dict[str, str]:
    """Topic -> expression in its canonical form.

    Raises:
        Refused: an expression is malformed, or a topic is named twice or is the group's own.
    """
    found: dict[str, str] = {}
    for one in wish.subscriptions:
        if one.topic in found:
            text = f"{one.topic} is subscribed to twice; join the tags: `a || b`"
            raise Refused(Code.INVALID_ARGUMENT, text)
        if retry_topic(wish.group) == one.topic in own_topics(wish):
            text = f"members of {wish.group} get {one.topic} without asking for it"
            raise Refused(Code.INVALID_ARGUMENT, text)
        try:
            found[one.topic] = TagFilter(one.expression).canonical
        except ValueError as error:
            raise Refused(Code.INVALID_ARGUMENT, str(error)) from None
    return found


def lease_of(wish: GroupJoin) -> int:
    """How long the member may be silent, ms."""
    return wish.lease_ms or LEASE_MS


def position_of(start: Start) -> Position:
    """The position as records have it."""
    return Position(start.at, start.time_ms, start.offset)


def group_after(
    wish: GroupJoin,
    known: Group | None,
    others: Sequence[str],
    *,
    group_id: int,
    queue_max: int,
    now_wall_ms: int,
) -> Group:
    """The group once the member is in; equal to `known` if it is so already.

    Args:
        others: names of the other members.
        group_id: of a new group.
        queue_max: the highest queue number given so far.

    Raises:
        Refused: the others want something else.
    """
    expressions = expressions_of(wish)
    if known is not None and others:
        _check_same(wish, expressions, known, others)
    is_work = wish.model in WORK_MODELS
    retries = wish.retries or (known is not None and known.retries and bool(others))
    if retries and not is_work:
        expressions[retry_topic(wish.group)] = "*"
    former = {} if known is None else {one.topic: one for one in known.topics}
    is_other = expressions != {one.topic: one.expression for one in former.values()}
    revision = 0 if known is None else known.revision + is_other
    topics = []
    for topic, expression in sorted(expressions.items()):
        was = former.get(topic, GroupTopic(topic, "", queue_max=queue_max))
        since = was.revision if was.expression == expression else revision
        topics.append(GroupTopic(topic, expression, "tag", was.queue_max, since))
    start, lease_ms = position_of(wish.start), lease_of(wish)
    if known is not None and others:
        start, lease_ms = known.start, max(known.lease_ms, lease_ms)
    return Group(
        name=wish.group,
        group_id=group_id if known is None else known.group_id,
        model=wish.model,
        strategy=_strategy_after(wish, known),
        topics=tuple(topics),
        start=start,
        lease_ms=lease_ms,
        retries=retries,
        created_at_ms=now_wall_ms if known is None else known.created_at_ms,
        revision=revision,
    )


def own_topics(wish: GroupJoin) -> list[str]:
    """Topics of the system that the group needs."""
    if not wish.retries:
        return []
    dead = dead_letter_topic(wish.group)
    # What fails in a work group stays where it is, invisible until it comes again.
    return [dead] if wish.model in WORK_MODELS else [retry_topic(wish.group), dead]


def check_queues(wish: GroupJoin, queues: int) -> None:
    """Whether the members of a group could hold so many queues together.

    Raises:
        Refused: it is a work group, and there are too many.
    """
    if wish.model in WORK_MODELS and queues > MEMBER_QUEUES_MAX:
        text = f"the topics of {wish.group} have {queues} queues"
        limit = f"every member of a work group has all of them, at most {MEMBER_QUEUES_MAX}"
        raise Refused(Code.INVALID_ARGUMENT, f"{text}; {limit}")


def subscriptions_of(group: Group) -> list[Subscription]:
    """What the members of a group asked for."""
    has_own = group.retries and group.model not in WORK_MODELS
    own = retry_topic(group.name) if has_own else None
    return [
        Subscription(topic=one.topic, expression=one.expression)
        for one in group.topics
        if one.topic != own
    ]


def _check_same(
    wish: GroupJoin, expressions: dict[str, str], known: Group, others: Sequence[str]
) -> None:
    other = sorted(others)[0]
    if wish.model != known.model:
        text = f"{known.name} is {known.model}, as its member {other} wants it, not {wish.model}"
        raise Refused(Code.SUBSCRIPTION_CONFLICT, text)
    if _strategy_after(wish, known) != known.strategy:
        text = f"{known.name} divides queues by {known.strategy}, as its member {other} knows it"
        raise Refused(Code.SUBSCRIPTION_CONFLICT, f"{text}, not by {wish.strategy}")
    theirs = {one.topic: one.expression for one in subscriptions_of(known)}
    differences = [
        f"{topic}: {_said(theirs.get(topic))} there, {_said(expressions.get(topic))} here"
        for topic in sorted(theirs.keys() | expressions.keys())
        if theirs.get(topic) != expressions.get(topic)
    ]
    if differences:
        more = len(differences) - _NAMES_MAX
        text = "; ".join(differences[:_NAMES_MAX]) + (f"; and {more} more" if more > 0 else "")
        text = f"{known.name} has the member {other} with other subscriptions ({text})"
        raise Refused(Code.SUBSCRIPTION_CONFLICT, text)


def _strategy_after(wish: GroupJoin, known: Group | None) -> str:
    kept = "sticky" if known is None else known.strategy
    if wish.strategy is None or wish.model in WORK_MODELS:  # there nothing is divided
        return kept
    return wish.strategy


def _said(expression: str | None) -> str:
    return "nothing" if expression is None else f"`{expression}`"


def _why_invalid_member(name: str) -> str | None:
    if not name:
        return "a member's name cannot be empty"
    if len(name) > MEMBER_CHARS_MAX:
        over = len(name) - MEMBER_CHARS_MAX
        return f"a member's name has at most {MEMBER_CHARS_MAX} characters, {over} over"
    if not name.isprintable():
        return f"a member's name has only printable characters, unlike {name[:40]!r}"
    return None
