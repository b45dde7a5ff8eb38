"""Admin under asyncio: the flows of `topics.py`, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from shardmq.actors.kernel.randomness import SystemRandomness
from shardmq.actors.protocol.retries import dlq_topic

from ..closing import AsyncClosable
from ..credentials import check_credentials
from ..errors import InvalidArgument, SendError, TopicNotFound
from ..groups import (
    GroupDescription,
    ResetQueue,
    ResetTo,
    checked_group_name,
    delete_group,
    describe_group,
    list_groups,
    reset_offsets,
)
from ..letters import (
    DeadLetter,
    Resend,
    checked_count,
    checked_rate,
    in_order,
    letter_of,
    unread,
)
from ..link.asking import Flow
from ..times import Duration, ms_of
from ..topics import (
    TopicDescription,
    create_topic,
    delete_topic,
    describe_topic,
    list_topics,
    stats_of,
    update_topic,
)
from .consumer import PullConsumer
from .link import Connection, acquire, release, run_flow
from .producer import Producer

__all__ = ["Admin"]

T = TypeVar("T")
POLL_SECONDS = 10.0
LETTERS_MAX = 1_000_000


class Admin(AsyncClosable):
    """Administers a broker; see `shardmq.client.Admin`."""

    _noun = "admin"

    def __init__(
        self, url: str | None = None, *, timeout: Duration = 10.0, credentials: Any = None
    ) -> None:
        check_credentials(credentials)
        self._url = url
        self._timeout_ms = ms_of(timeout, "timeout")
        if not self._timeout_ms:
            raise InvalidArgument("timeout is more than 0 seconds")
        self._connection: Connection = acquire(url)
        self._closed = False

    async def create_topic(
        self, name: str, queues: int = 8, *, retention: Duration | None = None
    ) -> TopicDescription:
        """Creates a topic. Raises TopicExists."""
        request_key = f"{SystemRandomness().u64():016x}"
        return await self._run(create_topic(name, queues, retention, request_key))

    async def update_topic(
        self,
        name: str,
        *,
        queues: int | None = None,
        write_queues: int | None = None,
        read_queues: int | None = None,
        retention: Duration | None = None,
    ) -> TopicDescription:
        """Changes a topic. Raises TopicNotFound."""
        return await self._run(update_topic(name, queues, write_queues, read_queues, retention))

    async def delete_topic(self, name: str) -> None:
        """Deletes a topic and its messages. Raises TopicNotFound."""
        await self._run(delete_topic(name))

    async def topics(self, *, system: bool = False) -> list[str]:
        """Names of all topics, sorted."""
        return await self._run(list_topics(system))

    async def describe_topic(self, name: str) -> TopicDescription:
        """A topic, its queues and their offsets. Raises TopicNotFound."""
        return await self._run(describe_topic(name))

    async def groups(self) -> list[str]:
        """Names of all consumer groups, sorted."""
        return await self._run(list_groups())

    async def describe_group(self, name: str) -> GroupDescription:
        """A group, its members, and where it is in its queues.

        Raises:
            GroupNotFound: there is none of that name.
        """
        return await self._run(describe_group(name))

    async def reset_offsets(
        self, group: str, topic: str, *, to: ResetTo, dry_run: bool = False
    ) -> list[ResetQueue]:
        """Moves a group in a topic to "earliest", "latest", a time, or to offsets: a mapping from
        queue_id. Its members follow at once. With `dry_run` only says what would be.

        Raises:
            GroupNotFound, TopicNotFound: there is none of that name.
        """
        return await self._run(reset_offsets(group, topic, to, dry_run))

    async def delete_group(self, name: str) -> None:
        """Forgets a group, and where it is.

        Raises:
            GroupNotFound: there is none of that name.
            GroupInUse: it has members.
        """
        await self._run(delete_group(name))

    async def dead_letters(self, group: str, *, count: int = 1_000) -> list[DeadLetter]:
        """Messages that a group gave up, oldest first, at most `count` of them."""
        checked_count(count)
        topic = dlq_topic(checked_group_name(group))
        letters: list[DeadLetter] = []
        try:
            described = await self.describe_topic(topic)
        except TopicNotFound:
            return letters
        async with PullConsumer(self._url, on_out_of_range="earliest") as consumer:
            await consumer.assign(topic)
            while len(letters) < count:
                positions = {
                    queue_id: consumer.position(topic, queue_id)
                    for _, queue_id in consumer.assignment()
                }
                if not unread(described, positions):
                    break
                letters += map(letter_of, await consumer.poll(timeout=POLL_SECONDS))
        return in_order(letters)[:count]

    async def resend_dead_letters(
        self, group: str, letters: Sequence[DeadLetter] | None = None, *, rate: float = 1_000.0
    ) -> int:
        """Sends dead letters to their topics again, as new messages, and says how many. They stay
        where they are. Those whose topic does not exist any more do not keep the others back.

        Args:
            letters: some of `dead_letters(group)`; None: all of them.
            rate: messages a second.

        Raises:
            SendError: some were not sent. It says how many were; `left` has those to try again,
                `letters` and `outcomes` what became of each.
        """
        checked = checked_rate(rate)
        if letters is None:
            letters = await self.dead_letters(group, count=LETTERS_MAX)
        resend = Resend(letters, checked)
        async with Producer(self._url) as producer:
            while messages := resend.batch():
                await asyncio.sleep(resend.wait_seconds)
                try:
                    resend.stored(await producer.send_batch(messages))
                except SendError as error:
                    resend.failed(error)
        return resend.result()

    async def stats(self, actor: str) -> dict[str, Any]:
        """Figures of `router`, `coordinator` or `shard-N`."""
        return await self._run(stats_of(actor))

    async def close(self) -> None:
        """Gives the connection back. May be called again."""
        if not self._closed:
            self._closed = True
            release(self._connection)

    async def _run(self, flow: Flow[T]) -> T:
        self._check_open()
        return await run_flow(self._connection, flow, self._timeout_ms)
