"""The shard: the one writer of its slice of the log, owner of everything about its messages.

Owns the dispatch by verb and the order of things in a turn. What a verb means stands in its own
file; what must survive stands in `state/`, as folds over the journal. It knows no sockets, no files
and no clock: letters in, letters out (see `actors/kernel/ports.py`).

A turn:  all requests that the loop drained are decided and appended -> the journal writes them with
one call -> replies that need no sync leave. A sync runs beside the loop; when it is done,
`durable_advanced` releases the replies that waited for it and wakes the polls that have news.

Nothing that a peer sends may raise out of here: what is malformed is answered with a code, and a
bug in one verb ends as INTERNAL for that request. But a broken invariant or a failed disk does
raise: the process must end, and recovery look at what is there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from shardmq.actors.kernel.logs import fields
from shardmq.actors.kernel.ports import Letter, Now, Projection, QueueLog, Randomness
from shardmq.actors.protocol.codec import HeaderError, decode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import FLAG_REPLY, FrameError
from shardmq.actors.protocol.group_messages import Ack, Grant, Nack, Release
from shardmq.actors.protocol.group_messages import Cursors as CursorsHeader
from shardmq.actors.protocol.messages import Define, Fetch, Offsets, Produce, Taken
from shardmq.actors.protocol.verbs import Verb
from shardmq.actors.protocol.work_messages import Receive, Settle

from .answers import Answers
from .append import Appender
from .carry import Carrying
from .define import Defining
from .durability import Durability
from .fencing import CoordinatorFence
from .fetch import Fetching
from .groups import Groups
from .losses import Losses
from .nack import Nacking
from .offsets import OffsetsOf
from .plain_produce import PlainProducing
from .polls import Polls
from .produce import ProduceReplies, Producing
from .producer_room import PRODUCERS_MAX, ProducerRoom
from .release import Releasing
from .requests import FATAL, Request, read_request
from .retention import Retention
from .scheduling import Scheduling
from .serving import Serving
from .state.cursors import Cursors
from .state.producers import Producers
from .state.queues import Queues
from .state.schedule import Schedule
from .state.topics import Topics
from .work import Work
from .work_groups import WorkGroups

__all__ = ["Shard", "ShardState"]

_log = logging.getLogger("shardmq.shard")


class ShardState:
    """What a shard knows: folds over its journal, to be handed to it before it is opened."""

    def __init__(self) -> None:
        self.topics = Topics()
        self.queues = Queues()
        self.producers = Producers()
        self.cursors = Cursors()
        self.schedule = Schedule()

    @property
    def projections(self) -> tuple[Projection, ...]:
        return (self.topics, self.queues, self.producers, self.cursors, self.schedule)


class _Handler(NamedTuple):
    """How one verb is handled."""

    header: type[Any]
    handle: Callable[[Request, Any, Now, list[Letter]], None]


class Shard:
    """The core of a shard actor.

    Args:
        number: this shard's number, as the coordinator's routes name it.
        journal: opened with `state.projections`.
        randomness: for the shard's own id as a producer.
        producers_max: bound of the table of producers.
        journal_figures: what the journal has to add to the verb STATS.
    """

    def __init__(
        self,
        number: int,
        journal: QueueLog,
        state: ShardState,
        randomness: Randomness,
        *,
        producers_max: int = PRODUCERS_MAX,
        journal_figures: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self.number = number
        self._journal = journal
        self._journal_figures = journal_figures
        self._state = state
        self._serving = Serving(number, state.queues)
        self._polls = Polls()
        self._durability = Durability()
        room = ProducerRoom(journal, state.producers, producers_max)
        self._retention = Retention(journal, self._serving, room)
        self._appender = Appender(journal, self._durability, room)
        replies = ProduceReplies(journal, self._durability)
        self._producing = Producing(self._serving, state.producers, self._appender, replies)
        self._plain = PlainProducing(
            state.topics, self._serving, state.producers, self._appender, replies, randomness
        )
        self._answers = Answers(journal, self._serving, state.cursors)
        self._fetching = Fetching(self._serving, self._polls, self._answers)
        fence = CoordinatorFence()
        work_groups = WorkGroups(state.cursors)
        self._groups = groups = Groups(
            journal, self._serving, state.cursors, self._durability, self._fetching, fence,
            work_groups,
        )  # fmt: skip
        defining = Defining(
            journal, state.topics, self._serving, self._fetching, self._durability, fence,
            work_groups,
        )  # fmt: skip
        self._handlers = {
            int(Verb.PRODUCE): _Handler(Produce, self._produce),
            int(Verb.FETCH): _Handler(Fetch, self._fetching.handle),
            int(Verb.TAKEN): _Handler(Taken, self._fetching.taken),
            int(Verb.OFFSETS): _Handler(Offsets, OffsetsOf(journal, self._serving).handle),
            int(Verb.DEFINE): _Handler(Define, defining.handle),
            int(Verb.GRANT): _Handler(Grant, groups.granting.handle),
            int(Verb.ACK): _Handler(Ack, groups.acking.handle),
            int(Verb.CURSORS): _Handler(CursorsHeader, groups.cursors_of.handle),
        }
        losses = Losses(journal)
        self._releasing = Releasing(journal, state.schedule, self._serving, self._appender, losses)
        self._carrying = Carrying(journal, state.schedule, state.queues, self._appender, losses)
        self._handlers[int(Verb.RELEASE)] = _Handler(Release, self._releasing.handle)
        scheduling = Scheduling(journal, state.topics, self._serving, state.schedule, groups.log)
        self._nacking = Nacking(journal, self._serving, state.cursors, scheduling, groups.log)
        self._handlers[int(Verb.NACK)] = _Handler(Nack, self._nacking.handle)
        self._work = Work(
            journal, self._serving, state.cursors, groups.log, work_groups, scheduling,
            self._fetching.outflow,
        )  # fmt: skip
        self._handlers[int(Verb.RECEIVE)] = _Handler(Receive, self._work.receiving.handle)
        self._handlers[int(Verb.SETTLE)] = _Handler(Settle, self._work.settling.handle)
        self._stopping = False
        self._dropped = 0
        self._faults = 0
        state.queues.reveal()
        defining.open()

    # ------------------------------------------------------------------ the actor's face

    @property
    def wake_at_ms(self) -> float | None:
        if self._polls.ready or self._groups.cursors_of:
            return 0.0  # at once
        times = (
            self._fetching.wake_at_ms, self._releasing.wake_at_ms, self._retention.wake_at_ms,
            self._carrying.wake_at_ms, self._work.wake_at_ms,
        )  # fmt: skip
        return min(one for one in times if one is not None)

    def handle(self, letters: Sequence[Letter], now: Now) -> list[Letter]:
        """Decide everything that one turn drained; see `Core.handle`."""
        out: list[Letter] = []
        for letter in letters:
            self._one(letter, now, out)
        if not self._stopping:
            self._retention.turn(now)
            self._releasing.turn(now, out)
            self._carrying.turn(now)
            self._work.turn(now, out)
        self._fetching.expire(now.mono_ms, out)
        self._answer_ready(now, out)
        self._groups.cursors_of.turn(now, out)
        return out

    def durable_advanced(self, now: Now) -> list[Letter]:
        """Release what waited for the disk; see `JournaledCore.durable_advanced`."""
        out, news = self._durability.advance(self._journal.durable)
        self._fetching.wake(news)
        self._work.durable_advanced(news)
        if not self._stopping:
            self._releasing.durable_advanced()
        self._answer_ready(now, out)
        return out

    def link_changed(self, link: str, up: bool, now: Now) -> list[Letter]:
        """A shard asks nobody, so it has no links."""
        return []

    def stop(self, now: Now) -> list[Letter]:
        """Take nothing new, and send every poll home; what is held leaves with the last sync."""
        self._stopping = True
        out: list[Letter] = []
        self._releasing.stop(out)
        self._fetching.expire(float("inf"), out)
        self._work.stop(out)
        self._groups.cursors_of.stop(out)
        self._answer_ready(now, out)
        return out

    def drained(self) -> bool:
        """True once every request has its answer."""
        return not self._durability.held and not self._polls.ready and self._work.drained()

    def stats(self) -> dict[str, Any]:
        """Figures of this shard, for the verb STATS."""
        journal = self._journal
        return {
            "shard": self.number,
            "topics": len(self._state.topics),
            "queues": len(self._serving),
            "producers": len(self._state.producers),
            "batches_appended": self._appender.batches,
            "batch_bytes_appended": self._appender.bytes,
            "duplicates": self._producing.duplicates + self._plain.duplicates,
            "polls_parked": len(self._polls),
            "polls_ready": len(self._polls.ready),
            "polls_held_back": self._fetching.outflow.waiting,
            "routers_stalled": self._fetching.outflow.stalls,
            "fetches_answered": self._fetching.answered,
            "fetch_bytes": self._fetching.bytes,
            "fetches_fenced": self._answers.fenced,
            "batches_passed": self._answers.passed,
            **self._groups.stats(),
            **self._nacking.stats(),
            **self._work.stats(),
            **self._releasing.stats(),
            **self._carrying.stats(),
            "replies_held": self._durability.held,
            "unsynced_bytes": journal.end - journal.durable,
            "requests_dropped": self._dropped,
            "internal_errors": self._faults
            + self._fetching.faults
            + self._groups.faults
            + self._releasing.faults
            + self._carrying.faults
            + self._work.faults,
            "journal_end": journal.end,
            "journal_durable": journal.durable,
            "journal_epoch": journal.epoch,
            "journal": self._journal_figures(),
        }

    def _answer_ready(self, now: Now, out: list[Letter]) -> None:
        # Who stops lets no poll wait on.
        self._fetching.answer_ready(float("inf") if self._stopping else now.mono_ms, out)

    # ------------------------------------------------------------------ one request

    def _one(self, letter: Letter, now: Now, out: list[Letter]) -> None:
        try:
            request = read_request(letter)
        except FrameError as error:
            self._dropped += 1
            _log.warning("a letter without a route was dropped", extra=fields(reason=str(error)))
            return
        if request.route.flags & FLAG_REPLY:
            self._dropped += 1
            return
        handler = self._handlers.get(request.route.verb)
        if handler is None:
            text = f"a shard does not answer verb {request.route.verb}"
            out.append(request.refuse(Code.UNKNOWN_VERB, text))
            return
        if self._stopping:
            out.append(request.refuse(Code.SHUTTING_DOWN, "the shard is stopping"))
            return
        try:
            header = decode_header(request.header, handler.header, request.route.flags)
            handler.handle(request, header, now, out)
        except HeaderError as error:
            out.append(request.refuse(Code.BAD_REQUEST, f"the header is malformed: {error}"))
        except FATAL:
            raise
        except Exception:
            # No payload in the log: only where it happened.
            self._faults += 1
            _log.exception("a request failed", extra=fields(verb=request.route.verb))
            out.append(request.refuse(Code.INTERNAL, "an unexpected fault; the log has it"))

    def _produce(self, request: Request, header: Produce, now: Now, out: list[Letter]) -> None:
        verb = self._producing if header.topic is None else self._plain
        verb.handle(request, header, now, out)
