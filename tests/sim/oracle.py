"""Oracle: looks into the running broker and compares it with the history and with its own disk.

Owns the checks that need more than what clients see: what a shard's log holds, whether the state in
memory equals its replay, whether nothing is visible that is not durable, whether tables stay small.
Violations are collected; a run ends at the first.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.coordinator.groups import Groups
from shardmq.client.records import FetchedRecord, split_records
from shardmq.shards.log.io import is_disk_full
from shardmq.shards.log.journal import Journal
from shardmq.shards.log.logscan import segment_bases
from shardmq.shards.log.names import log_name, path_of
from shardmq.shards.log.reader import iterate
from shardmq.shards.log.record import PREFIX_BYTES
from shardmq.shards.shard import ShardState
from shardmq.shards.state.queues import CARRIED_QUEUE

from .checkers import check_places
from .cluster import Cluster, CoordinatorActor, ShardActor, journal_options
from .group_load import MEMBERS_MAX
from .history import Fate, History, QueueLog, Stored, Violation
from .host import POWER_CUT, Host, State
from .load import Load
from .records import messages_of
from .swarm import Plan
from .world import World

EVERYTHING = 1 << 40


class Oracle:
    """Checks of one run."""

    def __init__(
        self, world: World, plan: Plan, cluster: Cluster, history: History, load: Load
    ) -> None:
        self.world = world
        self.plan = plan
        self.cluster = cluster
        self.history = history
        self.load = load
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter(
            replays=0, set_aside=0, from_snapshot=0, dropped=0, carried=0
        )
        self._digest_at_death: dict[str, list[int]] = {}
        self._visible_at_death: dict[str, dict[int, int]] = {}
        for host in cluster.journaled:
            host.on_started.append(self._started)
            host.on_turned.append(self._turned)
            host.on_ended.append(self._ended)

    def violate(self, rule: str, text: str) -> None:
        self.world.note("oracle", rule, text)
        self.violations.append(Violation(rule, text))

    # --- as it happens -----------------------------------------------------------------------

    def _turned(self, host: Host) -> None:
        actor = host.actor
        assert actor is not None
        journal = actor.journal
        if not journal.durable <= journal.written <= journal.end:
            text = f"{host.name}: durable {journal.durable} written {journal.written}"
            self.violate("durable", f"{text} end {journal.end}")

    def _ended(self, host: Host, why: str) -> None:
        actor = host.actor
        if actor is not None and actor.journal is not None:
            self.counts["dropped"] += actor.journal.stats().segments_dropped
        self._digest_at_death.pop(host.name, None)
        if host.error is not None and is_disk_full(host.error):
            self.violate("full", f"{host.name} ended because its disk is full: {why}")
        if isinstance(actor, ShardActor):
            self.counts["carried"] += actor.core.stats()["schedule_carried"]
            numbers = actor.state.queues.stored()
            visible = {number: actor.offsets(number).visible for number in numbers}
            self._visible_at_death[host.name] = visible
        if why == POWER_CUT and host.name in self._visible_at_death:
            self._forgive(int(host.name[6:]), self._visible_at_death[host.name])
        elif why == "killed" and isinstance(actor, ShardActor | CoordinatorActor):
            if actor.journal.written == actor.journal.end:
                self._digest_at_death[host.name] = [one.digest() for one in actor.projections]

    def _forgive(self, shard: int, visible: dict[int, int]) -> None:
        """What was acknowledged as `written` and not yet durable may go with the power."""
        for send in self.history.sends:
            if send.ack == "written" and send.fate in (Fate.OK, Fate.OPEN):
                known = send.queue in visible and send.offset < visible[send.queue]
                if self.history.shard_of.get(send.queue, shard) == shard:
                    send.forgiven = send.forgiven or not known

    def _started(self, host: Host) -> None:
        actor = host.actor
        assert isinstance(actor, ShardActor | CoordinatorActor)
        report = actor.journal.report
        self.counts["set_aside"] += len(report.set_aside)
        self.counts["from_snapshot"] += report.replay_from > 0
        if report.lost or report.read_only:
            text = f"{host.name} lost {report.lost}, though nothing rots here"
            self.violate("rot", text)
        before = self._digest_at_death.pop(host.name, None)
        after = [one.digest() for one in actor.projections]
        if before is not None and before != after:
            self.violate("digest", f"{host.name} was killed with {before}, came back with {after}")
        if isinstance(actor, ShardActor):
            logs = self.logs_of(actor)
            self.violations += check_places(self.history, self.of_users(logs))

    # --- now and then ------------------------------------------------------------------------

    def begin(self) -> None:
        until_ms = self.world.mono_ms + self.plan.storm_ms

        def again() -> None:
            self.look()
            if self.world.mono_ms < until_ms:
                self.world.after(self.plan.digest_every_ms, again)

        self.world.after(self.plan.digest_every_ms, again)

    def look(self) -> None:
        """Replays every journal beside the running one."""
        for host in self.cluster.journaled:
            actor = host.actor
            if host.state is State.SERVING and isinstance(actor, ShardActor | CoordinatorActor):
                journal = actor.journal
                if journal.written == journal.end:
                    self._replay(host, actor)
                if isinstance(actor, ShardActor):
                    self._visible(actor)
                    self._tables(actor)

    def _replay(self, host: Host, actor: ShardActor | CoordinatorActor) -> None:
        assert host.disk is not None
        live = [one.digest() for one in actor.projections]
        copy = host.disk.copy()
        options = journal_options(self.plan, host.name)
        self.counts["replays"] += 1
        bases = segment_bases(copy, options.directory)
        if bases and bases[0] == 0:
            folded = _fresh(actor)
            _fold(copy, options.directory, bases, actor.journal.end, folded)
            found = [one.digest() for one in folded]
            if found != live:
                self.violate("digest", f"{host.name}: live {live}, folded from the log {found}")
        replayed = _fresh(actor)
        Journal.open(copy, options, replayed, self.world.now())
        found = [one.digest() for one in replayed]
        if found != live:
            self.violate("digest", f"{host.name}: live {live}, recovered {found}")

    def _visible(self, actor: ShardActor) -> None:
        """What may be seen is exactly what is durable."""
        journal = actor.journal
        for number in actor.state.queues.stored():
            offsets = actor.offsets(number)
            if not offsets.earliest <= offsets.visible <= offsets.next:
                text = f"earliest {offsets.earliest} visible {offsets.visible} next {offsets.next}"
                self.violate("visible", f"queue {number}: {text}")
            spans = journal.spans(number, 0, EVERYTHING, journal.durable)
            if spans and offsets.visible != spans[-1].base_offset + spans[-1].count:
                last = spans[-1]
                text = f"queue {number}: visible {offsets.visible}, durable to"
                if offsets.visible > last.base_offset + last.count and journal.epoch > 0:
                    continue  # behind a gap that recovery left
                self.violate("visible", f"{text} {last.base_offset + last.count}")

    def _tables(self, actor: ShardActor) -> None:
        figures = actor.core.stats()
        if figures["internal_errors"]:
            self.violate("internal", f"shard {actor.number} answered INTERNAL; see the log")
        members = 4 * MEMBERS_MAX if self.plan.groups else 0
        parked_max = (
            4 * (self.plan.consumers + members + 2) * len(self.cluster.of_kind("router")) * 8
        )
        if figures["polls_parked"] > parked_max:
            self.violate("bounds", f"{figures['polls_parked']} polls are parked")

    # --- what the logs hold ------------------------------------------------------------------

    def logs(self) -> dict[int, QueueLog]:
        """All queues of all running shards."""
        found: dict[int, QueueLog] = {}
        for number in range(self.plan.shards):
            actor = self.cluster.shard(number)
            if actor is not None:
                found.update(self.logs_of(actor))
        return found

    def of_users(self, logs: dict[int, QueueLog]) -> dict[int, QueueLog]:
        """Without the topics of the system, which hold copies."""
        topic_of = self.history.topic_of
        return {
            number: log
            for number, log in logs.items()
            if not topic_of.get(number, "").startswith("%")
        }

    def of_system(self, logs: dict[int, QueueLog]) -> dict[int, QueueLog]:
        """The others."""
        users = self.of_users(logs)
        return {number: log for number, log in logs.items() if number not in users}

    def logs_of(self, actor: ShardActor) -> dict[int, QueueLog]:
        """The queues of one shard; known ones that it does not have are empty."""
        self._learn_dropped()
        found = {}
        stored = set(actor.state.queues.stored()) - {CARRIED_QUEUE}
        expected = {q for q, shard in self.history.shard_of.items() if shard == actor.number}
        for number in sorted(stored | expected):
            found[number] = self._log_of(actor, number)
        return found

    def _log_of(self, actor: ShardActor, number: int) -> QueueLog:
        journal = actor.journal
        offsets = actor.offsets(number)
        spans = journal.spans(number, 0, EVERYTHING, journal.durable)
        messages: list[Stored] = []
        for record in journal.read(spans):
            for one in split_records(record):
                if isinstance(one, FetchedRecord):
                    messages += messages_of(one)
                else:
                    self.violate("rot", f"queue {number}: {one}")
        earliest = 0
        if self.plan.retention_bytes or self.plan.retention_ms:
            first = messages[0].offset if messages else offsets.next
            earliest = max(offsets.earliest, first)
        return QueueLog(earliest, offsets.next, messages)

    def _learn_dropped(self) -> None:
        """Queues that no topic has any more, where the operator may have asked for that."""
        catalogue = self.cluster.catalogue
        live: set[int] = set()
        if catalogue is not None:
            for topic in catalogue.all():
                for place in topic.places:
                    live.add(place.number)
                    self.history.topic_of[place.number] = topic.name
                    self.history.topic_ids_of.setdefault(place.number, set()).add(topic.topic_id)
        self.history.dropped_queues = {
            number
            for number, topic in self.history.topic_of.items()
            if number not in live and topic in self.load.perishable
        }


def _fresh(actor: ShardActor | CoordinatorActor) -> tuple[Any, ...]:
    return ShardState().projections if isinstance(actor, ShardActor) else (Catalogue(), Groups())


def _fold(copy: Any, directory: str, bases: list[int], end: int, projections: Any) -> None:
    """Applies every record from the first one on, without any snapshot."""
    for index, base in enumerate(bases):
        stop = bases[index + 1] if index + 1 < len(bases) else end
        file = copy.open(path_of(directory, log_name(base)))
        for record in iterate(copy, file, base, base, stop):
            if record.length < PREFIX_BYTES:
                break  # no record at all: recovery has more to say about that
            for one in projections:
                if one.bucket_of(record) >= 0:
                    one.apply(record)
        copy.close(file)
