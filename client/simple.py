"""SimpleConsumer: receives messages of a work queue and settles them one by one. A shell: whom to
ask, and what an answer means, is decided in `work/`.

Any number of threads may use one consumer at once: what they want and what they have done shares
requests.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import partial
from typing import Any

from .closing import Closable
from .consume.positions import StartFrom
from .errors import ClosedError, InvalidArgument, ShardMQError
from .group.mode import Mode
from .group.parting import Parting, warn_of
from .link.sharing import acquire, release
from .link.wire import now
from .naming import unique_name
from .received import ReceivedMessage
from .times import Duration
from .work.core import RETURN_MS, WorkCore
from .work.options import checked_invisible, checked_nack, checked_receive, checked_work
from .work.settlement import ACK, GIVE_BACK, Act
from .work.sources import Wish

__all__ = ["SimpleConsumer"]

_Messages = ReceivedMessage | Iterable[ReceivedMessage]


class SimpleConsumer(Closable):
    """A member of a work group: every message goes to one of the members, any of them, whatever
    its queue, and is nobody else's for a while.

    A message that is acked in that time is done. One that is not comes again, to whoever asks, with
    `attempt` one higher; at the end of `max_attempts` it lies among the group's dead letters. There
    is no assignment and nothing to rebalance: any number of consumers share any number of queues.

    Args:
        url: the broker, `tcp://host:port`; None for SHARDMQ_URL or the default.
        group: the work group.
        name: this member's, unique in the group; None makes one.
        start_from: where the group starts where it has never been: "earliest", "latest", a time.
        fifo: messages of one queue one after the other: while some of them are in somebody's
            hands, nothing more of that queue is given to anybody. The same for all members.
        max_attempts: deliveries of one message.
        lease: seconds after which a silent member is forgotten; None: the broker's default.
        timeout: for requests other than receiving, in seconds.

    Raises:
        InvalidArgument, NotSupported: an argument is not valid.
    """

    def __init__(
        self,
        url: str | None = None,
        group: str | None = None,
        *,
        name: str | None = None,
        start_from: StartFrom = "latest",
        fifo: bool = False,
        max_attempts: int = 16,
        lease: Duration | None = None,
        timeout: Duration = 10.0,
        credentials: Any = None,
    ) -> None:
        self._settings = settings = checked_work(
            group, unique_name() if name is None else name, start_from,
            fifo=fifo, max_attempts=max_attempts, lease=lease, timeout=timeout,
            credentials=credentials,
        )  # fmt: skip
        self._mode = Mode(settings.member, "receive")
        self._group: WorkCore | None = None
        self._starting = threading.RLock()
        self._ending = threading.Lock()
        """Held for ever by whoever closed it."""
        self._connection = acquire(url)
        self._closed = False

    # ---------------------------------------------------------------------------------- starting

    def subscribe(self, topic: str, expression: str = "*") -> None:
        """Wants the messages of a topic, all or those with one of the tags: "paid || shipped".

        Raises:
            InvalidArgument: no tag expression, or this consumer has started.
        """
        self._check_open()
        self._mode.subscribes(topic, expression, started=self._group is not None)

    def start(self) -> None:
        """Joins the group: returns once it has accepted this member and the start positions are
        durable, so that no message sent from then on is missed. The first `receive` does the same;
        may be called again, also after an error.

        Raises:
            SubscriptionConflict: another member subscribed to something else.
            TopicNotFound: a topic does not exist.
            TimedOut: the broker did not answer.
        """
        with self._starting:
            self._check_open()
            if self._group is None:
                self._group = self._join()

    def _join(self) -> WorkCore:
        self._mode.starts()
        connection = self._connection
        group = WorkCore(connection.core, self._settings, dict(self._mode.subscriptions))
        error: ShardMQError | None = ClosedError("consumer")
        try:
            connection.run(group.membership.start)
            in_time = connection.wait(
                lambda: self._closed or group.settled, self._settings.timeout_ms
            )
            if not self._closed:
                error = group.fault_of_start(in_time)
        finally:
            if error is not None:  # or somebody interrupted the wait
                with connection.lock:
                    group.membership.leave(now())
                    group.close(error)
                    connection.turn()
        if error is not None:
            raise error
        return group

    # ---------------------------------------------------------------------------------- messages

    def receive(
        self,
        max_messages: int = 32,
        invisible_for: Duration = 30.0,
        wait: Duration | None = 10.0,
    ) -> list[ReceivedMessage]:
        """Up to `max_messages` messages (at most 1,024) as soon as there are any; an empty list if
        none came within `wait` seconds (None: waits for ever). Nobody else gets them for
        `invisible_for` seconds.

        A broker that restarts meanwhile is waited for. What the process receives and does not
        settle comes again by itself.

        Raises:
            TimedOut: nobody answered in all that time, 3 s at least.
            ClosedError: this consumer was closed meanwhile.
        """
        asked = checked_receive(max_messages, invisible_for, wait)
        group = self._started()
        receiver, connection = group.receiver, self._connection
        wish = Wish(asked, now().mono_ms)
        try:
            connection.see_through(wish, receiver.receive)
            while not wish.settled:
                connection.see_through(wish, receiver.late)
            return receiver.take(wish)
        except BaseException:  # what came, perhaps a moment ago, reaches nobody
            connection.run(partial(receiver.give_up, wish))
            raise

    def ack(self, messages: _Messages) -> None:
        """Messages, one or any number, are done: durable when this returns.

        Raises:
            ReceiptExpired: too late for those in its `messages`, which others get or have got; the
                rest is done.
            InvalidArgument: a message was received by another consumer.
            TimedOut: the broker did not answer, perhaps they are done; acking again is safe.
        """
        self._settle(messages, ACK)

    def nack(
        self,
        messages: _Messages,
        *,
        delay: Duration | None = None,
        cause: str | BaseException | None = None,
        dead: bool = False,
    ) -> None:
        """Messages failed: they come again after `delay` seconds, or, by default, after 10 s, then
        30 s, 1 min ... up to 2 h. With `dead`, and at the end of `max_attempts`, they are dead
        letters, which say the `cause`.

        Raises:
            As `ack`.
        """
        self._settle(messages, checked_nack(delay, cause, dead))

    def change_invisible(self, messages: _Messages, seconds: Duration) -> None:
        """Messages stay with this consumer for `seconds` from now, more or less than was left.

        Raises:
            As `ack`.
        """
        self._settle(messages, checked_invisible(seconds))

    def give_back(self, messages: _Messages) -> None:
        """Messages are not wanted: others get them at once, and this time does not count as an
        attempt.

        Of a `fifo` group the first message of a queue that fails ends the work on that queue:
        `nack` it and give back those behind it, which come again after it, in order.

        Raises:
            As `ack`.
        """
        self._settle(messages, GIVE_BACK)

    # ------------------------------------------------------------------------------------ ending

    def close(self) -> None:
        """Leaves the group, once what other threads settle is settled; their `receive` ends with
        ClosedError, and what is just being handed out to them goes back. Messages in the user's
        hands stay invisible until their time. A broker that is away is waited for a second at most.
        May be called again."""
        if not self._ending.acquire(blocking=False):
            return
        connection = self._connection
        try:
            self._closed = True
            with connection.lock:
                connection.turn()  # whoever starts hears of it
            with self._starting:
                group = self._group
            if group is not None:
                self._leave(group)
        finally:
            release(connection)

    def _leave(self, group: WorkCore) -> None:
        connection, timeout_ms = self._connection, self._settings.timeout_ms
        receiver, settler, membership = group.receiver, group.settler, group.membership
        error = ClosedError("consumer")
        with connection.lock:
            parting = Parting(connection.core, now())
        unless_alone = parting.unless_alone
        try:
            connection.run(partial(receiver.stop, error))
            connection.wait(unless_alone(lambda: receiver.is_idle), min(RETURN_MS, timeout_ms))
            connection.wait(unless_alone(lambda: settler.is_idle), timeout_ms)
            connection.run(membership.leave)
            connection.wait(unless_alone(lambda: membership.has_left), timeout_ms)
            name, left = self._settings.member.group, membership.has_left
            warn_of(name, left=left, settlements=settler.untold)
        finally:
            with connection.lock:
                parting.end()
                membership.leave(now())  # perhaps somebody interrupted the wait
                group.close(error)
                connection.turn()

    # ------------------------------------------------------------------------------------ inside

    def _started(self) -> WorkCore:
        self._check_open()
        while self._group is None:
            self.start()
        return self._group

    def _settle(self, messages: Any, act: Act) -> None:
        self._check_open()
        group, connection = self._group, self._connection
        if group is None:
            raise InvalidArgument("nothing was received by this consumer yet")
        settlement = group.settlement(messages, act, now())
        connection.see_through(settlement, group.settler.add)
        if not settlement.settled:
            with connection.lock:
                settlement.give_up()
        fault = settlement.fault()
        if fault is not None:
            raise fault
