"""PushGroup: the pure part of a push consumer: a member of a group, a dispatcher and the nacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.codes import Code

from ..consume.fetcher import Fetcher
from ..errors import ShardMQError, remote_error
from .acks import Commit
from .core import GroupCore, Holding
from .dispatch import Dispatcher
from .lanes import KeyedDispatcher
from .nacks import Nacker
from .options import GroupOptions, PushOptions, Subscriptions
from .tracker import Tracker
from .work import Listener, Work

__all__ = ["PushGroup"]


class PushGroup:
    """What a shell with workers drives; all of it under its connection's lock."""

    def __init__(
        self,
        fetcher: Fetcher,
        member: GroupOptions,
        options: PushOptions,
        subscriptions: Subscriptions,
        listeners: Mapping[str, Listener],
    ) -> None:
        self._fetcher = fetcher
        self.core = GroupCore(fetcher, member, subscriptions, self)
        self.nacker = Nacker(fetcher.core, options.max_attempts, self._refused)
        nacker = self.nacker if member.model == "clustering" else None
        self.dispatcher: Dispatcher
        if options.ordered:
            self.dispatcher = KeyedDispatcher(
                self.core,
                nacker,
                listeners,
                options.timeout_ms,
                max_attempts=options.max_attempts,
                suspend_ms=options.suspend_ms,
            )
        else:
            self.dispatcher = Dispatcher(
                self.core, nacker, listeners, options.timeout_ms, options.retry_delay_ms
            )

    def start(self, news: Callable[[], None], now: Now) -> None:
        """Joins; `news()` is called whenever a worker may find something to do."""
        self._fetcher.news = news
        self.core.start(now)

    def take(self, now: Now) -> Work | None:
        """The next run for a worker; `finish` must follow."""
        return None if self.core.has_failed else self.dispatcher.take(now)

    def finish(self, work: Work, now: Now) -> bool:
        """A worker is through; False if it was replaced."""
        return self.dispatcher.finish(work, now)

    def drain(self) -> None:
        """Deals nothing more; what is in work goes on."""
        self.dispatcher.close()

    @property
    def is_drained(self) -> bool:
        """True if nothing is in work and all that failed was told."""
        return not self.dispatcher.running and (self.nacker.is_idle or self.core.has_failed)

    @property
    def is_quiet(self) -> bool:
        """True if no listener is at work that somebody waits for."""
        return not self.dispatcher.running

    def commit(self, now: Now) -> Commit:
        """All that is done is to be durable."""
        return self.core.commit(now)

    def close(self) -> None:
        """Forgets everything in flight."""
        self._fetcher.news = None
        self.nacker.close()
        self.core.close()

    # ------------------------------------------------------------------------ the core's worker

    def began(self, holding: Holding) -> None:
        self.nacker.group_id = self.core.membership.group_id
        self.dispatcher.begin(holding)

    def stop(self, holding: Holding, now: Now) -> None:
        self.dispatcher.stop(holding, now)

    def dropped(self, holding: Holding, now: Now) -> None:
        self.dispatcher.dropped(holding, now)

    def passed(self, now: Now) -> None:
        del now
        self.dispatcher.passed()

    def _refused(self, tracker: Tracker, error: ShardMQError, now: Now) -> None:
        if error.code == Code.UNKNOWN_VERB:
            text = f"a listener failed, and this broker takes no messages back: {error}"
            error = remote_error(Code.UNKNOWN_VERB, text)
        self.core.refused(tracker, error, now)
