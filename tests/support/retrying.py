"""A shard under test whose group retries: plays members that fail, and the coordinator's clock.

Owns the requests about retries, and the reading of what came of them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol.batch import BatchView, check_batch
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import (
    Nack,
    NackMessage,
    NackQueue,
    NackResult,
    Release,
    ReleaseReply,
)
from shardmq.actors.protocol.plain import plain_messages
from shardmq.actors.protocol.verbs import Verb

from .grouped import GROUP, GroupedShard
from .shards import Reply, batches_in, topic

QUEUE, RETRIES, DEAD = 1, 70, 71
RETRY_TOPIC, DLQ_TOPIC = "%RETRY%billing", "%DLQ%billing"


class Seen(msgspec.Struct):
    """A message as a reader sees it."""

    offset: int
    body: bytes
    message_id: str
    properties: dict[str, str]


class RetryingShard(GroupedShard):
    """See the module. QUEUE and RETRIES are granted to ann with generation 1."""

    def prepare(self) -> None:
        """Define the topics, and grant."""
        self.define(topic(numbers=(QUEUE, 2)), topic(RETRY_TOPIC, 2, (RETRIES,)))
        self.define(topic(DLQ_TOPIC, 3, (DEAD,)))
        for queue in (QUEUE, RETRIES):
            self.grant(queue)

    def nack_letter(
        self, *messages: NackMessage | int, queue: int = QUEUE, generation: int = 1,
        max_attempts: int = 16, **how: Any,
    ) -> Letter:  # fmt: skip
        said = [NackMessage(offset=one) if isinstance(one, int) else one for one in messages]
        item = NackQueue(queue=queue, generation=generation, messages=said)
        header = Nack(group_id=GROUP, max_attempts=max_attempts, queues=[item])
        return self.letter(Verb.NACK, header, **how)

    def nack(self, *messages: NackMessage | int, **how: Any) -> NackResult:
        """The result for one queue."""
        reply = self._answer(self.nack_letter(*messages, **how))
        assert reply.code == Code.OK, reply
        result = reply.header.queues[0]
        assert isinstance(result, NackResult)
        return result

    def release_letter(
        self, *, in_ms: int = 0, known_due_ms: int = 0, wait_ms: int = 0, **how: Any
    ) -> Letter:
        until_ms = self.clock.now().wall_ms + in_ms
        header = Release(until_ms=until_ms, known_due_ms=known_due_ms, wait_ms=wait_ms)
        return self.letter(Verb.RELEASE, header, **how)

    def release(self, **how: Any) -> int:
        """Say what time it is, as the coordinator does; the next due time from now, 0 for none."""
        letter = self.release_letter(**how)
        due_ms = self.due_told(self._answer(letter))
        self.settle()
        return due_ms and due_ms - self.clock.now().wall_ms

    def due_told(self, reply: Reply) -> int:
        assert isinstance(reply.header, ReleaseReply), reply
        return reply.header.next_due_ms

    def settle(self) -> list[Reply]:
        """Turns and syncs until nothing is to be done now; what left meanwhile."""
        replies, end = [], -1
        while end != self.journal.end:
            end = self.journal.end
            replies += self.turn() + self.sync()
        return replies

    def seen(self, queue: int) -> list[Seen]:
        """All messages of a queue, as anybody may fetch them."""
        found: list[Seen] = []
        for span in self.journal.spans(queue, 0, 1 << 40, self.journal.durable):
            (record,) = self.journal.read([span])
            (frame,) = batches_in(record)
            view = BatchView(frame, check_batch(frame))
            bodies = view.bodies()
            for at, plain in enumerate(plain_messages(view, span.base_offset, 0)):
                assert plain.offset is not None
                assert plain.message_id is not None
                found.append(
                    Seen(plain.offset, bodies[at], plain.message_id, dict(plain.properties))
                )
        return found
