"""Wish, Arrived, Request, Source: a call of `receive`, what came for those who have not taken it
yet, a RECEIVE on its way, and a shard. Plain values of a `Receiver`, which alone changes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from shardmq.actors.protocol.limits import RECEIVE_MESSAGES_MAX

from ..errors import ShardMQError
from ..link.calls import Call
from ..link.timers import Timer
from ..received import ReceivedMessage
from .options import Asked

__all__ = ["PATIENCE_MS", "Arrived", "Request", "Source", "Sources", "Wish", "sharing"]

PATIENCE_MS = 3_000.0
"""How long a `receive` with a shorter wait tries to reach a shard at all."""


class Source:
    """A shard that has queues of the group."""

    __slots__ = ("empty_ms", "is_away", "is_ready", "number", "request", "watch")

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_ready = True
        """It may have something: it is asked by whoever wants something."""
        self.is_away = False
        """It is not asked: it owes an answer, or has failed a moment ago."""
        self.empty_ms = 0.0
        """When it last had nothing."""
        self.request: Request | None = None
        self.watch: Call | None = None
        """Parked there until it has something."""


class Request:
    """A RECEIVE for some wishes together."""

    __slots__ = ("call", "count", "invisible_ms", "late_ms", "receipt", "source", "timer", "wishes")

    def __init__(
        self, source: Source, wishes: Sequence[Wish], receipt: int, late_ms: float
    ) -> None:
        self.source = source
        self.wishes = wishes
        self.receipt = receipt
        self.late_ms = late_ms
        """When its wishes look elsewhere."""
        self.count = sum(wish.count for wish in wishes)
        self.invisible_ms = wishes[0].invisible_ms
        self.call: Call | None = None
        self.timer: Timer | None = None

    @property
    def is_unheard(self) -> bool:
        """The shard cannot have heard of it: nothing was handed out for it."""
        return self.call is not None and not (self.call.sent or self.call.unknown)

    @property
    def waiting(self) -> list[Wish]:
        """Its wishes that have got nothing, and have not gone elsewhere."""
        return [one for one in self.wishes if not one.settled and one.request in (None, self)]


class Wish:
    """What somebody waits for."""

    __slots__ = (
        "asked", "count", "end_ms", "error", "heard", "invisible_ms", "messages", "patient_ms",
        "request", "settled", "until_ms",
    )  # fmt: skip

    def __init__(self, asked: Asked, now_ms: float) -> None:
        self.count = asked.messages_max
        self.invisible_ms = asked.invisible_ms
        self.end_ms = self.until_ms = now_ms + asked.wait_ms
        """`until_ms`: when to ask the receiver whether it is over."""
        self.patient_ms = max(self.end_ms, now_ms + PATIENCE_MS)
        """Until then shards that say nothing are waited for, however short the wait."""
        self.asked: set[int] = set()
        """Shards that had nothing."""
        self.heard = False
        """A shard has answered."""
        self.request: Request | None = None
        self.settled = False
        self.messages: list[ReceivedMessage] = []
        self.error: ShardMQError | None = None

    def settle(self, error: ShardMQError | None = None) -> None:
        self.settled = True
        self.request = None
        self.error = error

    def outcome(self) -> list[ReceivedMessage]:
        """The messages, none if nothing came in time.

        Raises:
            ShardMQError: nobody could be asked.
        """
        if self.error is not None:
            raise self.error
        return self.messages


class Arrived:
    """What came for wishes whose callers have not taken it yet.

    Who was woken takes its messages without the connection's lock, perhaps while somebody closes
    the consumer: each message is either taken or recalled, never both, never neither.
    """

    def __init__(self) -> None:
        self._wishes: dict[Wish, bool] = {}

    def settle(self, wish: Wish, messages: list[ReceivedMessage]) -> None:
        """This is what it gets."""
        wish.messages = messages
        self._wishes[wish] = True  # before it is settled: its caller looks at that only
        wish.settle()

    def take(self, wish: Wish) -> list[ReceivedMessage]:
        """What a wish that is settled has got, which is its caller's from now on.

        Raises:
            ShardMQError: nobody could be asked, or it was recalled.
        """
        if self._wishes.pop(wish, False):  # one step, whatever other threads do
            return wish.messages
        return wish.outcome()

    def recall(self, wish: Wish) -> list[ReceivedMessage]:
        """What came for a wish whose caller never gets it."""
        self._wishes.pop(wish, None)
        messages, wish.messages = wish.messages, []
        return messages

    def recall_all(self, error: ShardMQError) -> list[ReceivedMessage]:
        """What nobody has taken yet: who comes for it hears `error`."""
        found: list[ReceivedMessage] = []
        for wish in list(self._wishes):
            messages = wish.messages
            wish.error = error  # before it is gone from here, or its caller would get nothing
            if self._wishes.pop(wish, False):
                wish.messages = []
                found += messages
        return found


class Sources(dict[int, Source]):
    """The shards by number."""

    def __init__(self) -> None:
        super().__init__()
        self.last = -1
        """The shard that was asked last: the next one comes first."""

    def in_turn(self) -> list[Source]:
        """Those that may be asked."""
        at_hand = [source for source in self.values() if not source.is_away]
        later = [source for source in at_hand if source.number > self.last]
        return later + [source for source in at_hand if source.number <= self.last]

    def change(self, shards: set[int]) -> list[Source]:
        """Takes which shards there are; returns those that are gone."""
        for number in shards - self.keys():
            self[number] = Source(number)
        return [self.pop(number) for number in self.keys() - shards]


def sharing(wishes: Sequence[Wish], count_max: int) -> list[Wish]:
    """The first of some wishes, as many as one request may be for."""
    taken: list[Wish] = []
    room = RECEIVE_MESSAGES_MAX
    for wish in wishes:
        if len(taken) == count_max:
            break
        if wish.count <= room and wish.invisible_ms == (taken or wishes)[0].invisible_ms:
            room -= wish.count
            taken.append(wish)
    return taken
