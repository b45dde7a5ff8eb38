"""Admin under asyncio: the flows of `topics.py`, awaited."""

from __future__ import annotations

from typing import Any, TypeVar

from shardmq.actors.kernel.randomness import SystemRandomness

from ..errors import ClosedError, InvalidArgument, NotSupported
from ..groups import (
    GroupDescription,
    ResetQueue,
    ResetTo,
    delete_group,
    describe_group,
    list_groups,
    reset_offsets,
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
from .link import Connection, acquire, release, run_flow

__all__ = ["Admin"]

T = TypeVar("T")


class Admin:
    """Administers a broker; see `shardmq.client.Admin`."""

    def __init__(
        self, url: str | None = None, *, timeout: Duration = 10.0, credentials: Any = None
    ) -> None:
        if credentials is not None:
            raise NotSupported("credentials: access control comes with a later release")
        self._timeout_ms = ms_of(timeout, "timeout")
        if not self._timeout_ms:
            raise InvalidArgument("timeout is more than 0 seconds")
        self._connection: Connection | None = acquire(url)

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

    async def stats(self, actor: str) -> dict[str, Any]:
        """Figures of `router`, `coordinator` or `shard-N`."""
        return await self._run(stats_of(actor))

    async def close(self) -> None:
        """Gives the connection back. May be called again."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            release(connection)

    async def __aenter__(self) -> Admin:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, flow: Flow[T]) -> T:
        if self._connection is None:
            raise ClosedError("admin")
        return await run_flow(self._connection, flow, self._timeout_ms)
