"""PushConsumer: calls listeners with the messages of a group, in threads. A shell: what a worker
does next, and what its listener's end means, is decided in `group/`.

A worker takes the connection's lock once for a run of messages, not for each. Workers are started
when there is something to do, up to `concurrency`, and sleep each on a latch of its own: with a
quick listener one of them is awake.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from .closing import Closable
from .consume.fetcher import Fetcher
from .consume.positions import StartFrom
from .errors import InvalidArgument, ShardMQError
from .group.acks import Commit
from .group.failures import FailureLog
from .group.mode import Mode
from .group.options import checked_count, checked_push
from .group.parting import Parting, warn_of
from .group.push import PushGroup
from .group.work import Listener, Work, run
from .link.sharing import acquire, release
from .link.wire import now
from .naming import unique_name
from .times import Duration, ms_of

__all__ = ["PushConsumer", "checked_listener"]

PREFETCH_MESSAGES = 65_536
PREFETCH_BYTES = 16 * 1024 * 1024
STUCK_MAX = 10
"""Workers that hang in listeners, in multiples of `concurrency`, before no others take over."""
JOIN_SECONDS = 5.0
_log = logging.getLogger("shardmq.client")


class PushConsumer(Closable):
    """A member of a group that calls listeners with messages.

    A listener that returns has done its message. One that raises has not: the message comes again
    after a while (`retry_delays`); at the end of `max_attempts` it lies among the group's dead
    letters. Raised or returned, `Retry(delay=...)` says when it comes again, and `Discard` that it
    does not: it is done, or a dead letter at once.

    Args:
        url: the broker, `tcp://host:port`; None for SHARDMQ_URL or the default.
        group: the consumer group.
        model: "clustering": members share the messages; "broadcasting": each gets all of them, and
            a message that fails is not delivered again.
        ordered: messages with the same ordering key (those without one: of the same queue) one
            after the other. One that fails is tried again after `suspend` seconds, and only those
            behind it wait.
        start_from: where the group starts where it has never been: "earliest", "latest", a time.
        concurrency: threads that call listeners.
        max_attempts: deliveries of one message.
        name: this member's, unique in the group; None makes one. A broadcasting member resumes by
            it.
        message_timeout: seconds after which a listener's message counts as failed, though its
            thread cannot be stopped; None: never.
        retry_delays: how long a message waits after its first failed attempt, its second ..., in
            seconds; after more than these, the last. None: 10 s, 30 s, 1 min ... up to 2 h. `Retry`
            with a delay overrides it; an ordered or broadcasting consumer takes none.
        prefetch_messages, prefetch_bytes: nothing more is fetched while so much is not done.
        commit_interval: how often the broker is told what is done, in seconds.
        lease: seconds after which a silent member loses its queues; None: the broker's default.
        strategy: how queues are shared out: sticky, average, circle or hash; None: as the group
            does.
        drain_timeout: how long `close` waits for listeners, in seconds.
        timeout: for requests, in seconds.

    Raises:
        InvalidArgument, NotSupported: an argument is not valid.
    """

    def __init__(
        self,
        url: str | None = None,
        group: str | None = None,
        *,
        model: str = "clustering",
        ordered: bool = False,
        start_from: StartFrom = "latest",
        concurrency: int = 20,
        max_attempts: int = 16,
        name: str | None = None,
        message_timeout: Duration | None = None,
        suspend: Duration = 1.0,
        retry_delays: Sequence[Duration] | None = None,
        prefetch_messages: int = PREFETCH_MESSAGES,
        prefetch_bytes: int = PREFETCH_BYTES,
        commit_interval: Duration = 1.0,
        lease: Duration | None = None,
        strategy: str | None = None,
        drain_timeout: Duration = 30.0,
        timeout: Duration = 10.0,
        credentials: Any = None,
    ) -> None:
        self._settings = settings = checked_push(
            group, unique_name() if name is None else name, start_from,
            model=model, ordered=ordered, concurrency=concurrency,
            max_attempts=max_attempts, message_timeout=message_timeout, suspend=suspend,
            retry_delays=retry_delays,
            prefetch_messages=prefetch_messages, prefetch_bytes=prefetch_bytes,
            commit_interval=commit_interval, lease=lease, strategy=strategy,
            drain_timeout=drain_timeout, timeout=timeout, credentials=credentials,
        )  # fmt: skip
        self._mode = Mode(settings.member)
        self._listeners: dict[str, Listener] = {}
        self._failures = FailureLog(threading.Lock())
        self._group: PushGroup | None = None
        self._idle: list[threading.Lock] = []
        self._workers: set[threading.Thread] = set()
        self._stuck = 0
        self._ending = False
        self._stop_wanted = False
        self._connection = connection = acquire(url)
        self._fetcher = Fetcher(connection.core, connection.routes, self._settings.fetching)
        self._closed = False

    # ---------------------------------------------------------------------------------- starting

    def subscribe(
        self,
        topic: str,
        expression: str = "*",
        listener: Callable[..., Any] | None = None,
        *,
        batch: int | None = None,
    ) -> None:
        """Calls `listener(message)` with messages of a topic, all or those with one of the tags:
        "paid || shipped". With `batch` it is called with lists of at most so many messages.

        Raises:
            InvalidArgument: no tag expression, no listener, or this consumer has started.
        """
        self._check_open()
        found = checked_listener(listener, batch)
        if inspect.iscoroutinefunction(listener):
            hint = "use shardmq.client.aio.PushConsumer"
            raise InvalidArgument("this listener is a coroutine function", hint=hint)
        self._mode.subscribes(topic, expression, started=self._group is not None)
        self._listeners[topic] = found

    def start(self) -> None:
        """Joins the group: returns once it has accepted this member and the start positions are
        durable, so that no message sent from then on is missed.

        Raises:
            SubscriptionConflict: another member subscribed to something else.
            TopicNotFound: a topic does not exist.
            TimedOut: the broker did not answer.

        After an error it may be called again.
        """
        self._check_open()
        if self._group is not None:
            return
        self._mode.starts()
        group = PushGroup(
            self._fetcher, self._settings.member, self._settings.push,
            dict(self._mode.subscriptions), dict(self._listeners),
        )  # fmt: skip
        group.dispatcher.replace_worker = partial(self._replace_worker, group)
        self._group = group
        self._connection.run(partial(group.start, self._news))
        in_time = self._connection.wait(lambda: group.core.settled, self._settings.timeout_ms)
        error = group.core.fault_of_start(in_time)
        if error is not None:
            self._connection.run(group.core.leave)
            self._forget(group)
            raise error

    def _forget(self, group: PushGroup) -> None:
        """Nothing of a group that could not be joined is left to the next attempt: its workers
        end with what they are at."""
        connection = self._connection
        with connection.lock:
            self._group = None
            group.drain()
            group.close()
            self._fetcher.close()
            self._fetcher = Fetcher(connection.core, connection.routes, self._settings.fetching)
            while self._idle:
                self._idle.pop().release()

    def wait(self, timeout: Duration | None = None) -> bool:
        """Blocks until `stop` or `close` is called; False after `timeout` seconds.

        Raises:
            ShardMQError: this member cannot go on; the error says why.
        """
        group = self._group
        if group is None:
            self._check_open()
            raise InvalidArgument("this consumer has not started", hint="call start() first")
        timeout_ms = None if timeout is None else ms_of(timeout, "timeout")
        done = self._connection.wait(lambda: self._stop_wanted or group.core.has_failed, timeout_ms)
        if group.core.error is not None and not self._closed:
            raise group.core.error
        return done or self._closed

    def stop(self) -> None:
        """Lets `wait` return; a listener, too, may call it."""
        self._stop_wanted = True
        if not self._closed:
            with self._connection.lock:
                self._connection.turn()

    # ------------------------------------------------------------------------------------ ending

    def close(self) -> None:
        """Lets listeners finish what they are at, acks it and leaves the group. A broker that is
        away is waited for a second at most: its leases run out, and what was not acked comes again.
        May be called again; from a listener it is the same as `stop`."""
        if threading.current_thread() in self._workers:
            self.stop()
            return
        if self._closed:
            return
        self._closed = self._stop_wanted = True
        try:
            if self._group is not None and self._leave(self._group):
                for worker in list(self._workers):
                    worker.join(JOIN_SECONDS if not self._stuck else 0.0)
        finally:
            with self._connection.lock:
                self._fetcher.close()
                self._connection.turn()
            self._failures.close()
            release(self._connection)

    # ----------------------------------------------------------------------------------- workers

    def _news(self) -> None:
        """One more worker is of use, perhaps. Called with the lock held."""
        group = self._group
        if group is None or not (self._ending or group.dispatcher.wants_another):
            return
        if self._idle:
            self._idle.pop().release()
        elif len(self._workers) - self._stuck < self._settings.concurrency and not self._ending:
            self._add_worker()

    def _add_worker(self) -> None:
        worker = threading.Thread(
            target=self._work, args=(self._group,), name="shardmq-listener", daemon=True
        )
        self._workers.add(worker)
        worker.start()

    def _replace_worker(self, group: PushGroup) -> None:
        self._stuck += 1
        if self._stuck > STUCK_MAX * self._settings.concurrency:
            _log.error("%d listeners hang: no more threads are started for them", self._stuck)
        elif not self._ending and group is self._group:
            self._add_worker()

    def _work(self, group: PushGroup | None) -> None:
        try:
            self._work_for(group)
        except Exception as error:  # ours: a user's listener cannot raise here
            _log.exception("a worker ended by a fault")
            if group is not None:
                with self._connection.lock:
                    group.core.fail(ShardMQError(f"a worker ended by a fault: {error!r}"))
                    self._connection.turn()

    def _work_for(self, group: PushGroup | None) -> None:
        latch = threading.Lock()
        latch.acquire()
        clock_ms = None if self._settings.push.timeout_ms is None else _clock_ms
        work: Work | None = None
        while group is not None:
            work = self._turn(group, work, latch)
            if work is not None:
                run(work, clock_ms)
                if work.failures:
                    self._failures.told(list(work.failures), now())
            elif self._ending or threading.current_thread() not in self._workers:
                return
            else:
                latch.acquire()

    def _turn(self, group: PushGroup, work: Work | None, latch: threading.Lock) -> Work | None:
        """Between two runs."""
        connection = self._connection
        with connection.lock:
            at = now()
            if work is not None and not group.finish(work, at):
                self._stuck -= 1
                self._workers.discard(threading.current_thread())
                return None
            work = group.take(at)
            if work is not None:
                self._news()
            elif not self._ending and group is self._group:
                self._idle.append(latch)
            else:
                self._workers.discard(threading.current_thread())
            if connection.core.outbox or self._ending:
                connection.turn()
            connection.arm()
        return work

    # ------------------------------------------------------------------------------------ inside

    def _leave(self, group: PushGroup) -> bool:
        """True if no listener is at work any more."""
        connection, settings, core = self._connection, self._settings, group.core
        with connection.lock:
            parting = Parting(connection.core, now())
            self._ending = True
            group.drain()
            while self._idle:
                self._idle.pop().release()
        try:
            connection.wait(
                lambda: group.is_drained or (parting.is_alone and group.is_quiet), settings.drain_ms
            )
            is_quiet = group.is_quiet
            if not is_quiet:
                _log.warning("listeners did not end in time: their messages come again")
            last: list[Commit] = []
            connection.run(lambda now: last.append(group.commit(now)))
            commit = last[0]
            connection.wait(parting.unless_alone(lambda: commit.settled), settings.timeout_ms)
            commit.warn()
            connection.run(core.leave)
            gone = parting.unless_alone(lambda: core.membership.has_left)
            connection.wait(gone, settings.timeout_ms)
            left, failures = core.membership.has_left, group.nacker.untold
            warn_of(core.options.group, left=left, failures=failures)
        finally:
            with connection.lock:
                parting.end()
                core.leave(now())  # perhaps somebody interrupted the wait
                group.close()
        return is_quiet


def checked_listener(listener: Any, batch: int | None) -> Listener:
    """Raises InvalidArgument if it cannot be called."""
    if not callable(listener):
        kind = type(listener).__name__
        raise InvalidArgument(f"a listener is called with messages, and cannot be {kind}")
    return Listener(listener, 0 if batch is None else checked_count("batch", batch, 1 << 20))


def _clock_ms() -> float:
    return monotonic() * 1000
