"""SimpleConsumer under asyncio: the core of the threaded one, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any

from ..closing import AsyncClosable
from ..consume.positions import StartFrom
from ..errors import ClosedError, InvalidArgument, ShardMQError
from ..group.mode import Mode
from ..group.parting import Parting, warn_of
from ..link.wire import now
from ..naming import unique_name
from ..received import ReceivedMessage
from ..times import Duration
from ..work.core import RETURN_MS, WorkCore
from ..work.options import checked_invisible, checked_nack, checked_receive, checked_work
from ..work.settlement import ACK, GIVE_BACK, Act
from ..work.sources import Wish
from .link import acquire, release

__all__ = ["SimpleConsumer"]

_Messages = ReceivedMessage | Iterable[ReceivedMessage]


class SimpleConsumer(AsyncClosable):
    """Receives messages of a work queue and settles them one by one; arguments and errors as
    `shardmq.client.SimpleConsumer`.

    Any number of tasks may use one consumer at once.
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
        self._starting = asyncio.Lock()
        self._connection = acquire(url)
        self._is_released = False
        self._closed = False

    def subscribe(self, topic: str, expression: str = "*") -> None:
        """Wants the messages of a topic, all or those with one of the tags: "paid || shipped"."""
        self._check_open()
        self._mode.subscribes(topic, expression, started=self._group is not None)

    async def start(self) -> None:
        """Joins the group: returns once it has accepted this member and the start positions are
        durable. The first `receive` does the same; may be called again, also after an error."""
        async with self._starting:
            self._check_open()
            if self._group is None:
                self._group = await self._join()

    async def _join(self) -> WorkCore:
        self._mode.starts()
        connection = self._connection
        group = WorkCore(connection.core, self._settings, dict(self._mode.subscriptions))
        error: ShardMQError | None = ClosedError("consumer")
        try:
            connection.run(group.membership.start)
            in_time = await connection.wait(
                lambda: self._closed or group.settled, self._settings.timeout_ms
            )
            if not self._closed:
                error = group.fault_of_start(in_time)
        finally:
            if error is not None:  # or somebody cancelled the wait
                group.membership.leave(now())
                group.close(error)
                if not self._closed:
                    connection.turn()
        if error is not None:
            raise error
        return group

    async def receive(
        self,
        max_messages: int = 32,
        invisible_for: Duration = 30.0,
        wait: Duration | None = 10.0,
    ) -> list[ReceivedMessage]:
        """Up to `max_messages` messages (at most 1,024) as soon as there are any; an empty list if
        none came within `wait` seconds (None: waits for ever). Nobody else gets them for
        `invisible_for` seconds."""
        asked = checked_receive(max_messages, invisible_for, wait)
        group = await self._started()
        connection = self._connection
        wish = Wish(asked, now().mono_ms)
        try:
            group.receiver.receive(wish, now())
            while not wish.settled:
                left_ms = wish.until_ms - now().mono_ms
                timeout_ms = None if left_ms == float("inf") else max(0.0, left_ms)
                if not await connection.wait(lambda: wish.settled, timeout_ms):
                    group.receiver.late(wish, now())
            return group.receiver.take(wish)
        except BaseException:  # what came, perhaps a moment ago, reaches nobody
            group.receiver.give_up(wish, now())
            if not self._is_released:
                connection.turn()
            raise

    async def ack(self, messages: _Messages) -> None:
        """Messages, one or any number, are done: durable when this returns."""
        await self._settle(messages, ACK)

    async def nack(
        self,
        messages: _Messages,
        *,
        delay: Duration | None = None,
        cause: str | BaseException | None = None,
        dead: bool = False,
    ) -> None:
        """Messages failed: they come again after `delay` seconds, or as the table of levels says;
        with `dead`, and at the end of `max_attempts`, they are dead letters."""
        await self._settle(messages, checked_nack(delay, cause, dead))

    async def change_invisible(self, messages: _Messages, seconds: Duration) -> None:
        """Messages stay with this consumer for `seconds` from now, more or less than was left."""
        await self._settle(messages, checked_invisible(seconds))

    async def give_back(self, messages: _Messages) -> None:
        """Messages are not wanted: others get them at once, and this time does not count as an
        attempt.

        Of a `fifo` group the first message of a queue that fails ends the work on that queue:
        `nack` it and give back those behind it, which come again after it, in order.

        Raises:
            As `ack`.
        """
        await self._settle(messages, GIVE_BACK)

    async def close(self) -> None:
        """Leaves the group, once what other tasks settle is settled; their `receive` ends with
        ClosedError, and what is just being handed out to them goes back. May be called again."""
        if self._closed:
            return
        self._closed = True
        connection = self._connection
        try:
            if self._group is not None:
                await self._leave(self._group)
            connection.turn()
        finally:
            self._is_released = True
            release(connection)

    async def _leave(self, group: WorkCore) -> None:
        connection, timeout_ms = self._connection, self._settings.timeout_ms
        receiver, settler, membership = group.receiver, group.settler, group.membership
        error = ClosedError("consumer")
        parting = Parting(connection.core, now())
        unless_alone = parting.unless_alone
        try:
            connection.run(partial(receiver.stop, error))
            at_most_ms = min(RETURN_MS, timeout_ms)
            await connection.wait(unless_alone(lambda: receiver.is_idle), at_most_ms)
            await connection.wait(unless_alone(lambda: settler.is_idle), timeout_ms)
            connection.run(membership.leave)
            await connection.wait(unless_alone(lambda: membership.has_left), timeout_ms)
            name, left = self._settings.member.group, membership.has_left
            warn_of(name, left=left, settlements=settler.untold)
        finally:
            parting.end()
            membership.leave(now())  # perhaps somebody cancelled the wait
            group.close(error)
            connection.turn()

    async def _started(self) -> WorkCore:
        self._check_open()
        while self._group is None:
            await self.start()
        return self._group

    async def _settle(self, messages: Any, act: Act) -> None:
        self._check_open()
        group = self._group
        if group is None:
            raise InvalidArgument("nothing was received by this consumer yet")
        settlement = group.settlement(messages, act, now())
        group.settler.add(settlement, now())
        timeout_ms = self._settings.timeout_ms
        if not await self._connection.wait(lambda: settlement.settled, timeout_ms):
            settlement.give_up()
        fault = settlement.fault()
        if fault is not None:
            raise fault
