"""PullConsumer: reads queues that the user names, or those that a group gives it. A shell: what to
fetch, and what an answer means, is decided in `consume/`; what a member of a group holds and has
done in `group/`.

One thread at a time may use a consumer. While it works on what it got, the connection's thread
keeps the next fetch in flight, and the membership alive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Any, TypeVar

from .closing import Closable
from .consume.cursor import Cursor
from .consume.fetcher import Fetcher
from .consume.options import BUFFER_BYTES, FETCH_BYTES, OnOutOfRange, checked_consumer
from .consume.positions import StartFrom, assigned, checked_start, positions_of
from .consume.reader import Reader
from .errors import InvalidArgument
from .group.acks import Commit
from .group.mode import Mode
from .group.options import checked_group
from .group.parting import Parting, warn_of
from .group.pull import PullGroup
from .groups import cursors_of
from .link.asking import Flow
from .link.flows import run_flow
from .link.sharing import acquire, release
from .link.wire import now
from .naming import unique_name
from .received import ReceivedMessage
from .times import Duration, When, ms_of

__all__ = ["PullConsumer"]

T = TypeVar("T")


class PullConsumer(Closable):
    """Reads the queues that `assign` names, from where `start_from` or a seek says. With a `group`
    it is one of the group's members, which share the queues of the topics they `subscribe` to.

    Args:
        url: the broker, `tcp://host:port`; None for SHARDMQ_URL or the default.
        group: the consumer group, None to read without one.
        start_from: "earliest", "latest", or a time (datetime, or seconds since the epoch); of a
            group only where it has never been before.
        name: this member's, unique in the group; None makes one.
        auto_commit: what was handed out counts as done when more is asked for, and at `close`
            unless an exception leaves the `with` block; else only `commit` says what is done.
        commit_interval: how often that is told to the broker, in seconds.
        lease: seconds after which a silent member loses its queues; None: the broker's default.
        strategy: how queues are shared out: sticky, average, circle or hash; None: as the group
            does.
        on_out_of_range: what to do when messages were deleted before they were read: "error"
            raises OffsetOutOfRange, "earliest" and "latest" go on there.
        fetch_bytes: credit of one request to a shard.
        buffer_bytes: nothing more is fetched while so much waits to be read.
        timeout: for requests other than reading, in seconds.

    Raises:
        InvalidArgument, NotSupported: an argument is not valid.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        group: str | None = None,
        start_from: StartFrom = "earliest",
        name: str | None = None,
        auto_commit: bool = True,
        commit_interval: Duration = 1.0,
        lease: Duration | None = None,
        strategy: str | None = None,
        on_out_of_range: OnOutOfRange = "error",
        fetch_bytes: int = FETCH_BYTES,
        buffer_bytes: int = BUFFER_BYTES,
        timeout: Duration = 10.0,
        credentials: Any = None,
    ) -> None:
        options = checked_consumer(on_out_of_range, fetch_bytes, buffer_bytes, credentials)
        self._start_from = checked_start(start_from)
        member = None
        if group is not None:
            member = checked_group(
                group, unique_name() if name is None else name, start_from,
                auto_commit=auto_commit, commit_interval=commit_interval, lease=lease,
                strategy=strategy,
            )  # fmt: skip
        self._mode = Mode(member)
        self._group: PullGroup | None = None
        self._timeout_ms = ms_of(timeout, "timeout")
        self._connection = connection = acquire(url)
        self._fetcher = Fetcher(connection.core, connection.routes, options)
        self._reader = Reader(self._fetcher)
        self._closed = False

    # ----------------------------------------------------------------------------- assignment

    def assign(
        self,
        topic: str,
        queue_ids: Sequence[int] | None = None,
        *,
        start_from: StartFrom | None = None,
    ) -> None:
        """Adds queues of a topic, None for all that can be read now.

        Raises:
            TopicNotFound, InvalidArgument: no such topic or queue.
        """
        self._mode.assigns()
        start = self._start_from if start_from is None else checked_start(start_from)
        cursors = self._run(assigned(topic, queue_ids, start))
        self._give_back()
        self._connection.run(lambda now: self._fetcher.assign(cursors, now))

    def subscribe(self, topic: str, expression: str = "*") -> None:
        """Wants the messages of a topic, all or those with one of the tags: "paid || shipped".

        Raises:
            InvalidArgument: no group, no tag expression, or this consumer has started.
        """
        self._check_open()
        self._mode.subscribes(topic, expression, started=self._group is not None)

    def start(self) -> None:
        """Joins the group: returns once it has accepted this member, which then knows its queues
        and where they start. The first `poll` does the same; may be called again.

        Raises:
            SubscriptionConflict: another member subscribed to something else.
            TopicNotFound: a topic does not exist.
            TimedOut: the broker did not answer.
        """
        self._check_open()
        if self._group is not None:
            return
        member = self._mode.starts()
        self._group = group = PullGroup(self._reader, member, self._mode.subscriptions)
        self._connection.run(group.core.start)
        in_time = self._connection.wait(lambda: group.core.settled, self._timeout_ms)
        error = group.core.fault_of_start(in_time)
        if error is not None:
            self._group = None
            self._connection.run(group.core.leave)
            group.core.close()
            raise error

    def assignment(self) -> list[tuple[str, int]]:
        """Topic and queue_id of every assigned queue."""
        self._started()
        return [(cursor.topic, cursor.queue.queue_id) for cursor in self._fetcher.cursors()]

    def seek(self, topic: str, queue_id: int, offset: int) -> None:
        """The next message of this queue will be the one at `offset`.

        Raises:
            InvalidArgument: the queue is not assigned, or the offset is negative.
        """
        if type(offset) is not int or offset < 0:
            raise InvalidArgument(f"an offset is a number from 0 on, not {offset!r}")
        (cursor,) = self._cursors(topic, queue_id)
        self._give_back()
        self._connection.run(lambda now: self._reader.seek(cursor, offset, now))

    def seek_to_time(self, topic: str, when: When, *, queue_id: int | None = None) -> None:
        """Goes to the first batch stored at or after `when`, in one or all queues of a topic."""
        checked_start(when, "when")
        self._seek_all(topic, when, queue_id)

    def seek_to_beginning(self, topic: str, queue_id: int | None = None) -> None:
        """Goes to the first message that is still there."""
        self._seek_all(topic, "earliest", queue_id)

    def seek_to_end(self, topic: str, queue_id: int | None = None) -> None:
        """Goes behind the last message."""
        self._seek_all(topic, "latest", queue_id)

    def position(self, topic: str, queue_id: int) -> int:
        """Offset of the next message of this queue to be delivered."""
        self._started()
        return self._reader.position(self._reader.cursor(topic, queue_id))

    def pause(self, topic: str, queue_id: int | None = None) -> None:
        """Delivers nothing of one or all queues of a topic until `resume`."""
        cursors = self._cursors(topic, queue_id)
        self._give_back()
        with self._connection.lock:
            for cursor in cursors:
                self._fetcher.pause(cursor)

    def resume(self, topic: str, queue_id: int | None = None) -> None:
        """Goes on with what `pause` stopped."""
        cursors = self._cursors(topic, queue_id)
        self._connection.run(lambda now: self._fetcher.resume_all(cursors, now))

    # --------------------------------------------------------------------------------- groups

    def commit(self) -> None:
        """All that was handed out so far is done; durable when this returns.

        Raises:
            Fenced: a queue was given to another member in the meantime.
            TimedOut: the broker did not answer.
        """
        self._started()
        group = self._group
        if group is None:
            self._mode.starts()
            return
        commits: list[Commit] = []
        self._connection.run(lambda now: commits.append(group.commit(now)))
        self._settle(commits[0])

    def committed(self, topic: str, queue_id: int) -> int:
        """Offset from which the group would go on in a queue that this member holds."""
        self._started()
        group = self._group
        if group is None:
            self._mode.starts()
            return 0
        queue = self._reader.cursor(topic, queue_id).queue
        wanted = [(queue.number, queue.shard)]
        return self._run(cursors_of(group.core.membership.group_id, wanted))[queue.number].floor

    # -------------------------------------------------------------------------------- reading

    def poll(
        self, timeout: Duration | None = 1.0, max_messages: int = 500
    ) -> list[ReceivedMessage]:
        """Up to `max_messages` messages; an empty list if none came within `timeout`.

        Raises:
            DamagedRecord: a record could not be read; the next call goes on behind it.
            OffsetOutOfRange: messages were deleted before they were read; seek.
            RemoteError: the topic is gone, or the broker refuses.
        """
        if type(max_messages) is not int or max_messages < 1:
            raise InvalidArgument(f"max_messages is a number from 1 on, not {max_messages!r}")
        timeout_ms = None if timeout is None else ms_of(timeout, "timeout")
        until_ms = None if timeout_ms is None else monotonic() * 1000 + timeout_ms
        self._started()
        self._come_back()
        while self._wait(timeout_ms):
            with self._connection.lock:
                messages = self._reader.collect(max_messages, now())
            self._send_fetches()
            if messages:
                return messages
            if until_ms is not None:
                timeout_ms = max(0.0, until_ms - monotonic() * 1000)
        return []

    def __iter__(self) -> Iterator[ReceivedMessage]:
        """Messages as they come, for ever (until `close`). Raises as `poll` does."""
        reader = self._reader
        self._started()
        while not self._closed:
            self._come_back()
            if not self._wait(None):
                return
            with self._connection.lock:
                batch = reader.begin(now())
            if batch is None:
                continue
            for message in batch.messages:
                yield message
                if reader.current is not batch:
                    break
            else:
                with self._connection.lock:
                    reader.finish(batch, now())
                self._send_fetches()

    # --------------------------------------------------------------------------------- ending

    def close(self) -> None:
        """Gives the connection back, after a last commit, for which a broker that is away is waited
        for a second at most. May be called again, and ends an iteration."""
        self._close(done=True)

    def _close(self, *, done: bool) -> None:
        if not self._closed:
            self._closed = True
            try:
                self._leave(done)
            finally:
                with self._connection.lock:
                    self._reader.current = None
                    self._fetcher.close()
                    self._connection.turn()
                release(self._connection)

    def __exit__(self, kind: object = None, *_: object) -> None:
        self._close(done=kind is None)

    # --------------------------------------------------------------------------------- inside

    def _started(self) -> None:
        self._check_open()
        if self._mode.options is not None and self._group is None:
            self.start()

    def _wait(self, timeout_ms: float | None) -> bool:
        """True if there is something to deliver or to raise."""
        self._check_open()
        group = self._group
        core = None if group is None else group.core
        fetcher = self._fetcher
        ready = self._connection.wait(
            lambda: self._closed or fetcher.has_news or (core is not None and core.has_failed),
            timeout_ms,
        )
        if core is not None and core.error is not None and not self._closed:
            raise core.error
        return ready and not self._closed

    def _come_back(self) -> None:
        """The user wants more: what an interrupted iteration left comes first."""
        group = self._group
        if group is None:
            self._give_back()
            return
        with self._connection.lock:
            self._reader.give_back()
            group.came_back(now())
        self._send_fetches()

    def _settle(self, commit: Commit) -> None:
        fault = commit.fault_of(self._connection.wait(lambda: commit.settled, self._timeout_ms))
        if fault is not None:
            raise fault

    def _leave(self, done: bool) -> None:
        group, self._group = self._group, None
        if group is None:
            return
        connection, core = self._connection, group.core
        with connection.lock:
            parting = Parting(connection.core, now())
        try:
            last: list[Commit] = []
            connection.run(lambda now: last.append(group.closing(now, done=done)))
            commit = last[0]
            connection.wait(parting.unless_alone(lambda: commit.settled), self._timeout_ms)
            commit.warn()
            connection.run(core.leave)
            gone = parting.unless_alone(lambda: core.membership.has_left)
            connection.wait(gone, self._timeout_ms)
            warn_of(core.options.group, left=core.membership.has_left)
        finally:
            with connection.lock:
                parting.end()
                core.leave(now())  # perhaps somebody interrupted the wait
                core.close()

    def _send_fetches(self) -> None:
        with self._connection.lock:
            if self._connection.core.outbox:
                self._connection.turn()
                self._connection.arm()

    def _give_back(self) -> None:
        if self._reader.current is not None:
            with self._connection.lock:
                self._reader.give_back()

    def _seek_all(self, topic: str, start: StartFrom, queue_id: int | None) -> None:
        cursors = self._cursors(topic, queue_id)
        offsets = self._run(positions_of([cursor.queue for cursor in cursors], start))
        self._give_back()
        places = list(zip(cursors, offsets, strict=True))
        with self._connection.lock:
            self._reader.seek_all(places, now())
        self._send_fetches()

    def _cursors(self, topic: str, queue_id: int | None) -> list[Cursor]:
        self._started()
        return self._reader.cursors(topic, queue_id)

    def _run(self, flow: Flow[T]) -> T:
        self._check_open()
        return run_flow(self._connection, flow, self._timeout_ms)
