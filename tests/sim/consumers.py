"""Consumer processes: the real fetcher under the driver, and a program that reads, seeks, pauses.

Owns what a consumer's program does and writes down: each message it was handed, in its run. A run
begins with a start, an assignment or a seek; within one the offsets of a queue go up by one. Must
not know the broker.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from shardmq.client.consume.fetcher import Fetcher, FetcherOptions
from shardmq.client.consume.positions import assigned
from shardmq.client.errors import OffsetOutOfRange, ShardMQError
from shardmq.client.link.asking import Asked

from .clients import Client
from .history import History, Read
from .swarm import Plan

AGAIN_MS = 200.0
ASSIGN_EVERY_MS = 700.0
STEP_MS = 3_000.0


class FlowRunner:
    """Runs flows of the client library over a simulated client, one step after the other."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._running: list[tuple[Generator[Any, Any, Any], Asked, Any]] = []
        client.after_turn.append(self._go_on)

    @property
    def idle(self) -> bool:
        return not self._running

    def run(self, flow: Generator[Any, Any, Any], done: Any) -> None:
        """`done(result, error)` is called at the end, one of the two being None."""
        self._step(flow, None, None, done)

    def _step(self, flow: Any, replies: Any, error: Exception | None, done: Any) -> None:
        client = self.client
        try:
            requests = flow.throw(error) if error is not None else flow.send(replies)
        except StopIteration as stop:
            done(stop.value, None)
            return
        except ShardMQError as raised:
            done(None, raised)
            return
        asked = Asked(client.core, requests, STEP_MS, client.world.now())
        self._running.append((flow, asked, done))
        client.turn_soon()

    def _go_on(self) -> None:
        settled = [one for one in self._running if one[1].settled]
        if not settled:
            return
        self._running = [one for one in self._running if not one[1].settled]
        for flow, asked, done in settled:
            try:
                replies = asked.replies()
            except ShardMQError as error:
                self._step(flow, None, error, done)
            else:
                self._step(flow, replies, None, done)


class SimConsumer:
    """Reads all queues of all topics from their earliest offset."""

    def __init__(self, client: Client, plan: Plan, history: History, topics: list[str]) -> None:
        self.client = client
        self.world = client.world
        self.history = history
        self.topics = topics
        self.errors: dict[str, int] = {}
        chance = self.world.chance
        options = FetcherOptions(
            fetch_bytes=chance.choice((300, 2_000, 100_000)),
            buffer_bytes=chance.choice((500, 5_000, 1_000_000)),
            on_out_of_range=chance.choice(("error", "earliest", "earliest")),
        )
        self.fetcher = Fetcher(client.core, client.routes, options)
        self.flows = FlowRunner(client)
        self._plan = plan
        self._run = 0
        self._runs: dict[int, int] = {}
        """Queue number -> the run that it is in."""
        self._busy_until_ms = 0.0
        self._assigning = False
        client.after_turn.append(self.read)
        self._assign_again()

    @property
    def name(self) -> str:
        return self.client.name

    def reached(self) -> dict[tuple[str, int], int]:
        """(this consumer, queue number) -> offset of the next message."""
        cursors = self.fetcher.cursors()
        return {(self.name, cursor.queue.number): cursor.position for cursor in cursors}

    # --- assignment --------------------------------------------------------------------------

    def _assign_again(self) -> None:
        """Looks for queues that are new: topics are created, grown and created again."""
        if self.client.gone:
            return
        if not self._assigning:
            for topic in self.topics:
                self._assigning = True
                self.flows.run(assigned(topic, None, "earliest"), self._assigned)
        self.world.after(ASSIGN_EVERY_MS, self._assign_again)

    def _assigned(self, cursors: Any, error: Exception | None) -> None:
        self._assigning = False
        if error is not None:
            self._count(error)
            return
        known = {cursor.queue.number for cursor in self.fetcher.cursors()}
        fresh = [cursor for cursor in cursors if cursor.queue.number not in known]
        if fresh:
            for cursor in fresh:
                self._begin_run(cursor.queue.number, cursor.position)
            self.fetcher.assign(fresh, self.world.now())
            self.client.turn_soon()

    def _begin_run(self, queue: int, offset: int | None) -> None:
        self._run += 1
        self._runs[queue] = self._run
        if offset is not None:
            self.history.runs[self.name, self._run, queue] = offset

    # --- reading -----------------------------------------------------------------------------

    def read(self) -> None:
        """Takes what is there, sometimes only a part, sometimes later."""
        world, chance = self.world, self.world.chance
        if world.mono_ms < self._busy_until_ms:
            return
        for _ in range(20):
            now = world.now()
            try:
                item = self.fetcher.next_item(now)
            except OffsetOutOfRange as error:
                self._count(error)
                self._seek_into_range(error)
                return
            except ShardMQError as error:
                self._count(error)
                self._later(AGAIN_MS)
                return
            if item is None:
                return
            end = len(item.messages)
            if end - item.start > 1 and chance.random() < 0.1:
                end = chance.randrange(item.start + 1, end)
            for message in item.messages[item.start : end]:
                self._handed(item.cursor, message)
            if end < len(item.messages):
                self.fetcher.give_back(item, end)
            else:
                self.fetcher.done(item, now)
        if chance.random() < 0.1:
            self._later(chance.uniform(1.0, 100.0))

    def _later(self, wait_ms: float) -> None:
        """The program works on what it got, or waits after an error."""
        self._busy_until_ms = self.world.mono_ms + wait_ms
        self.world.after(wait_ms, self.client.turn_soon)

    def _handed(self, cursor: Any, message: Any) -> None:
        number = cursor.queue.number
        self.history.shard_of[number] = cursor.queue.shard
        self.history.topic_of[number] = cursor.topic
        if number not in self._runs:
            self._begin_run(number, 0)  # the topic was created again, and the cursor moved on
        self.history.reads.append(
            Read(
                self.name, self._runs[number], number, message.offset, message.body,
                message.message_id, self.world.mono_ms,
            )
        )  # fmt: skip

    def _seek_into_range(self, error: OffsetOutOfRange) -> None:
        cursor = self.fetcher.cursor(error.topic, error.queue_id)
        if cursor is not None:
            offset = min(max(cursor.position, error.earliest), error.latest)
            self.fetcher.seek(cursor, offset, self.world.now())
            self._later(5.0)

    def _count(self, error: Exception) -> None:
        name = type(error).__name__
        self.errors[name] = self.errors.get(name, 0) + 1
        self.world.note(self.name, "error", str(error))

    # --- what else a program does ------------------------------------------------------------

    def seek_somewhere(self) -> None:
        """Seeks in one queue, back mostly; or pauses one for a while."""
        chance, cursors = self.world.chance, self.fetcher.cursors()
        if not cursors:
            return
        cursor = chance.choice(cursors)
        if chance.random() < 0.3:
            self.fetcher.pause(cursor)
            self.world.after(chance.uniform(5.0, 300.0), lambda: self._resume(cursor))
            return
        offset = chance.randint(0, cursor.position)
        self.world.note(self.name, "seek", (cursor.queue.number, offset))
        self._begin_run(cursor.queue.number, offset)
        self.fetcher.seek(cursor, offset, self.world.now())
        self.client.turn_soon()

    def _resume(self, cursor: Any) -> None:
        if not self.client.gone:
            self.fetcher.resume(cursor, self.world.now())
            self.client.turn_soon()

    def kill(self) -> None:
        self.client.kill()
