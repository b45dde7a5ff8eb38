"""What a user may choose for a member of a group, checked. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import (
    GroupJoin,
    Model,
    Start,
    Strategy,
    Subscription,
)
from shardmq.actors.protocol.limits import ATTEMPTS_MAX, LEASE_MS_MAX, LEASE_MS_MIN
from shardmq.actors.protocol.names import why_invalid_group
from shardmq.actors.protocol.tags import TagFilter, why_invalid_expression

from ..consume.options import FETCH_BYTES, FetcherOptions
from ..consume.positions import StartFrom, checked_start
from ..credentials import check_credentials
from ..errors import InvalidArgument
from ..times import Duration, epoch_ms_of, ms_of
from ..topics import checked_name
from .outcomes import checked_delay_ms

__all__ = [
    "GroupOptions",
    "PushOptions",
    "PushSettings",
    "Subscriptions",
    "checked_count",
    "checked_expression",
    "checked_group",
    "checked_push",
    "start_of",
]

CONCURRENCY_MAX = 1_000
PUSH_MODELS: tuple[Model, ...] = ("clustering", "broadcasting")
"""Of groups whose members hold queues; a work group's messages are received one by one."""
Subscriptions = Mapping[str, TagFilter]


class GroupOptions(NamedTuple):
    """What a member is."""

    group: str
    member: str
    start: Start
    auto_commit: bool = True
    commit_ms: float = 1_000.0
    lease_ms: int = 0
    """0: the broker's default."""
    strategy: Strategy | None = None
    model: Model = "clustering"
    retries: bool = False

    def wish(self, subscriptions: Subscriptions) -> GroupJoin:
        """The request to join."""
        return GroupJoin(
            group=self.group,
            member=self.member,
            subscriptions=[
                Subscription(topic=topic, expression=tags.canonical)
                for topic, tags in subscriptions.items()
            ],
            model=self.model,
            strategy=self.strategy,
            start=self.start,
            lease_ms=self.lease_ms,
            retries=self.retries,
        )


class PushOptions(NamedTuple):
    """How a push consumer works."""

    ordered: bool
    max_attempts: int
    suspend_ms: float
    timeout_ms: float | None
    """Of one message; None: it may take as long as it likes."""
    retry_delays_ms: tuple[int, ...] = ()
    """After the first failed attempt, the second ...; the last of them from then on. Empty: by the
    broker's table."""

    def retry_delay_ms(self, attempt: int) -> int | None:
        """How long a message waits whose `attempt`-th delivery failed; None: the broker says."""
        delays = self.retry_delays_ms
        return delays[min(attempt, len(delays)) - 1] if delays else None


class PushSettings(NamedTuple):
    """All that a user chose for a push consumer."""

    member: GroupOptions
    push: PushOptions
    fetching: FetcherOptions
    concurrency: int
    drain_ms: float
    timeout_ms: float


def checked_push(
    group: str | None,
    name: str,
    start_from: StartFrom,
    *,
    model: Any,
    ordered: bool,
    concurrency: Any,
    max_attempts: Any,
    message_timeout: Duration | None,
    suspend: Duration,
    retry_delays: Sequence[Duration] | None,
    prefetch_messages: Any,
    prefetch_bytes: Any,
    commit_interval: Duration,
    lease: Duration | None,
    strategy: Any,
    drain_timeout: Duration,
    timeout: Duration,
    credentials: Any,
) -> PushSettings:
    """What a push consumer is, and how it works.

    Raises:
        InvalidArgument, NotSupported: one is not valid; the message says which.
    """
    check_credentials(credentials)
    if group is None:
        raise InvalidArgument("a push consumer needs a group", hint="give a `group`")
    _check_push_model(model)
    concurrency = checked_count("concurrency", concurrency, CONCURRENCY_MAX)
    member = checked_group(
        group, name, start_from, model=model,
        commit_interval=commit_interval, lease=lease, strategy=strategy,
        retries=model == "clustering",
    )  # fmt: skip
    checked_count("max_attempts", max_attempts, ATTEMPTS_MAX)
    timeout_ms = None if message_timeout is None else ms_of(message_timeout, "message_timeout")
    if timeout_ms is not None and timeout_ms < 1:
        raise InvalidArgument("message_timeout is at least 0.001 s, or None")
    delays_ms = _checked_delays(retry_delays, model, ordered=bool(ordered))
    suspend_ms = ms_of(suspend, "suspend")
    push = PushOptions(bool(ordered), max_attempts, suspend_ms, timeout_ms, delays_ms)
    fetching = FetcherOptions(
        FETCH_BYTES,
        checked_count("prefetch_bytes", prefetch_bytes, 1 << 40),
        "earliest",
        checked_count("prefetch_messages", prefetch_messages, 1 << 40),
    )
    drain_ms = ms_of(drain_timeout, "drain_timeout")
    return PushSettings(member, push, fetching, concurrency, drain_ms, ms_of(timeout, "timeout"))


def _checked_delays(
    delays: Sequence[Duration] | None, model: str, *, ordered: bool
) -> tuple[int, ...]:
    if delays is None:
        return ()
    if ordered or model == "broadcasting":
        why = "an ordered consumer waits `suspend`" if ordered else "broadcasting retries nothing"
        raise InvalidArgument(f"retry_delays means nothing here: {why}", hint="leave it out")
    if isinstance(delays, str | bytes) or not isinstance(delays, Sequence):
        raise InvalidArgument(f"retry_delays is a list of durations, not {delays!r}")
    if not 1 <= len(delays) <= ATTEMPTS_MAX:
        raise InvalidArgument(f"retry_delays has 1 to {ATTEMPTS_MAX} entries, not {len(delays)}")
    return tuple(
        checked_delay_ms(delay, f"retry_delays[{index}]") for index, delay in enumerate(delays)
    )


def _check_push_model(model: Any) -> None:
    if model not in PUSH_MODELS:
        works = model in get_args(Model)
        hint = "SimpleConsumer receives from a group that shares its messages one by one"
        text = f"model is {' or '.join(PUSH_MODELS)}, not {model!r}"
        raise InvalidArgument(text, hint=hint if works else None)


def checked_count(name: str, value: Any, count_max: int) -> int:
    """Raises InvalidArgument if it is not a number from 1 to `count_max`."""
    if type(value) is not int or not 1 <= value <= count_max:
        raise InvalidArgument(f"{name} is a number from 1 to {count_max}, not {value!r}")
    return value


def checked_group(
    group: str,
    name: str,
    start_from: StartFrom,
    *,
    auto_commit: bool = True,
    commit_interval: Duration = 1.0,
    lease: Duration | None = None,
    strategy: Any = None,
    model: Any = "clustering",
    retries: bool = False,
) -> GroupOptions:
    """The options of a member.

    Raises:
        InvalidArgument: one is out of its range; the message says which.
    """
    reason = why_invalid_group(group)
    if reason is not None:
        raise InvalidArgument(reason, code=Code.INVALID_NAME)
    reason = why_invalid_group(name)
    if reason is not None:
        raise InvalidArgument(reason.replace("group", "member"), code=Code.INVALID_NAME)
    commit_ms = ms_of(commit_interval, "commit_interval")
    if commit_ms < 1:
        raise InvalidArgument(f"commit_interval is at least 0.001 s, not {commit_interval!r}")
    lease_ms = 0 if lease is None else int(ms_of(lease, "lease"))
    if lease is not None and not LEASE_MS_MIN <= lease_ms <= LEASE_MS_MAX:
        text = f"lease is {LEASE_MS_MIN / 1000:g} to {LEASE_MS_MAX / 1000:g} s, not {lease!r}"
        raise InvalidArgument(text)
    _one_of("strategy", strategy, Strategy, none=True)
    _one_of("model", model, Model)
    return GroupOptions(
        group,
        name,
        start_of(start_from),
        bool(auto_commit),
        commit_ms,
        lease_ms,
        strategy,
        model,
        retries,
    )


def checked_expression(topic: str, expression: Any) -> tuple[str, TagFilter]:
    """A subscription.

    Raises:
        InvalidArgument: no name of a topic, or no tag expression.
    """
    checked_name(topic)
    reason = why_invalid_expression(expression)
    if reason is not None:
        raise InvalidArgument(reason)
    return topic, TagFilter(expression)


def start_of(start_from: StartFrom, name: str = "start_from") -> Start:
    """A start position as the wire says it.

    Raises:
        InvalidArgument: it is none of the forms.
    """
    checked_start(start_from, name)
    at: Literal["earliest", "latest"]
    if isinstance(start_from, str):
        at = "earliest" if start_from == "earliest" else "latest"
        return Start(at=at)
    assert isinstance(start_from, datetime | int | float), "checked above"
    return Start(at="time", time_ms=max(0, epoch_ms_of(start_from, name)))


def _one_of(name: str, value: Any, kind: Any, *, none: bool = False) -> None:
    allowed = get_args(kind)
    if value not in allowed and not (none and value is None):
        raise InvalidArgument(f"{name} is one of {', '.join(allowed)}, not {value!r}")
