"""WorkCore: a member of a work group. Pure.

Joins the membership, the receiver and the settler. All members hold all queues, so what EVENTS tell
is only where queues are; nothing is revoked, and messages in hand are not lost with a membership:
each is settled on its own, by its receipt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shardmq.actors.kernel.ports import Now

from ..errors import ShardMQError, TimedOut
from ..group.member import Changes, Membership, State
from ..group.options import Subscriptions
from ..link.core import ClientCore
from ..received import ReceivedMessage
from .options import WorkSettings
from .receiving import Receiver
from .settlement import GIVE_BACK, Act, Settlement
from .settling import Settler

__all__ = ["RETURN_MS", "WorkCore"]

GIVE_BACK_MS = 2_000.0
RETURN_MS = 3_000.0
"""How long closing waits for what shards may still hand out: a shard that is killed is back by
then, and one that hangs keeps nobody longer."""


class WorkCore:
    """The pure part of a consumer."""

    def __init__(
        self, core: ClientCore, settings: WorkSettings, subscriptions: Subscriptions
    ) -> None:
        self.error: ShardMQError | None = None
        """Why this member cannot go on."""
        self._settings = settings
        self.membership = Membership(core, settings.member.wish(subscriptions), self)
        self.settler = Settler(core, settings.max_attempts)
        self.receiver = Receiver(
            core, self, self._give_back,
            max_attempts=settings.max_attempts, is_fifo=settings.fifo,
        )  # fmt: skip

    @property
    def settled(self) -> bool:
        """True once the member knows where the queues are, or has failed."""
        member = self.membership
        return self.error is not None or (member.state is State.MEMBER and member.version != 0)

    def fault_of_start(self, in_time: bool) -> ShardMQError | None:
        """Why the group did not take this member, once it is settled, or was not `in_time`."""
        if self.error is None and not in_time:
            group = self._settings.member.group
            return TimedOut(f"group {group!r} did not take this member in time")
        return self.error

    def settlement(self, messages: Any, act: Act, now: Now) -> Settlement:
        """What became of one message, or of several, for the settler.

        Raises:
            InvalidArgument: one was not received by this consumer.
        """
        return Settlement(messages, act, self, now.mono_ms + self._settings.timeout_ms)

    def close(self, error: ShardMQError) -> None:
        """Forgets everything in flight; whoever waits hears `error`."""
        self.receiver.close(error)
        self.settler.close(error)

    # ------------------------------------------------------------------ the membership's holder

    def joined(self, group_id: int, now: Now) -> None:
        del now
        self.settler.group_id = group_id
        self.receiver.joined(group_id)

    def changed(self, changes: Changes, now: Now) -> None:
        revoked = [queue.queue for queue in changes.new if queue.revoked]
        for number in (*changes.revoked, *revoked):
            self.membership.release(number, now)
        self.receiver.changed(self.membership.held.values(), now)

    def failed(self, error: ShardMQError, now: Now) -> None:
        self.error = error
        self.receiver.fail(error, now)

    # ---------------------------------------------------------------------------------- inside

    def _give_back(self, messages: Sequence[ReceivedMessage], now: Now) -> None:
        """Nobody here wants them any more: no time that they were handed out for nothing counts."""
        self.settler.add(Settlement(messages, GIVE_BACK, self, now.mono_ms + GIVE_BACK_MS), now)
