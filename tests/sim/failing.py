"""Failing: which messages a member fails on, and how it says so (NACK).

Owns a member's failures. Must not know the broker. What fails is decided by the message's own
number, so that it fails alike wherever it is handed out, and the checkers can tell what must become
of it: some messages fail once, some twice, and some always, until they are dead letters.
"""

from __future__ import annotations

from typing import NamedTuple

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.retries import retry_delay_ms
from shardmq.actors.protocol.verbs import Verb
from shardmq.client.link.calls import Reply

from .group_history import Nacked, Promise
from .history import Stored
from .membership import Holding, Membership
from .records import attempt_of


class Failure(NamedTuple):
    """A message that failed, and what its member wants."""

    message: Stored
    attempt: int
    wish: g.NackMessage


def failures_of(message_id: str) -> int:
    """How many deliveries of a message fail; 1,000 for all of them."""
    number = int(message_id[-8:], 16) + int(message_id[:4], 16)
    return {2: 1, 5: 2, 9: 1_000}.get(number % 12, 0)


class Failing:
    """The failures of one member."""

    def __init__(self, member: Membership) -> None:
        self.member = member
        self._out: set[int] = set()
        self._asked_wall_ms: dict[tuple[str, int], int] = {}
        """(message id, attempt) -> when it was said first; an answer may have been lost."""

    def on(self, held: Holding, message: Stored) -> bool:
        """True if the message fails; then it is said at the next occasion."""
        group, chance = self.member.group, self.member.world.chance
        attempt = attempt_of(message)
        if not group.retries or attempt > failures_of(message.message_id):
            return False
        delay_ms = chance.choice((0, 20, 300, 1_500)) if chance.random() >= 0.01 else None
        dead = chance.random() < 0.05
        wish = g.NackMessage(offset=message.offset, delay_ms=delay_ms, dead=dead, cause="fails")
        held.failed[message.offset] = Failure(message, attempt, wish)
        return True

    def say(self, shard: int, holdings: list[Holding]) -> None:
        """Sends what is not said yet; one NACK of a shard at a time."""
        wanted = [one for one in holdings if one.failed]
        if not wanted or shard in self._out:
            return
        self._out.add(shard)
        member, group = self.member, self.member.group
        said = {one.queue: (one, dict(one.failed)) for one in wanted}
        asked_wall_ms = member.world.now().wall_ms
        for held, failures in said.values():
            for failure in failures.values():
                name = failure.message.message_id, failure.attempt
                source = held.queue, failure.message.offset, held.generation
                member.groups.nack_asked.setdefault((group.name, *name), set()).add(source)
                self._asked_wall_ms.setdefault(name, asked_wall_ms)
                if failure.wish.dead:
                    member.groups.given_up.add(failure.message.message_id)

        def told(header: g.NackReply | None, reply: Reply, asked_ms: float) -> None:
            self._out.discard(shard)
            for result in header.queues if header is not None else ():
                held, failures = said[result.queue]
                if result.code == Code.OK:
                    self._took(held, failures, asked_ms)
                elif result.code == Code.FENCED and member.is_held(held):
                    member.fence(held)
                else:
                    text = held.queue, int(result.code), result.message
                    member.world.note(member.process, "not nacked", text)
            member.later(30.0, member.client.turn_soon)

        queues = [
            g.NackQueue(
                queue=held.queue,
                generation=held.generation,
                messages=[one.wish for _, one in sorted(failures.items())],
            )
            for held, failures in said.values()
        ]
        header = g.Nack(
            group_id=group.group_id, max_attempts=group.max_attempts, queues=queues
        )  # fmt: skip
        member.ask(Verb.NACK, header, shard, told)

    def _took(self, held: Holding, failures: dict[int, Failure], asked_ms: float) -> None:
        member, group = self.member, self.member.group
        member.accept(held, asked_ms)
        offsets = sum(1 << offset for offset in failures)
        held.done |= offsets
        held.acked |= offsets
        for offset, failure in failures.items():
            held.failed.pop(offset, None)
            delay_ms = failure.wish.delay_ms
            delay_ms = retry_delay_ms(failure.attempt) if delay_ms is None else delay_ms
            member.groups.nacked.append(
                Nacked(
                    group.name, held.queue, offset, failure.message.message_id, failure.attempt,
                    failure.wish.dead or failure.attempt >= group.max_attempts,
                    self._asked_wall_ms[failure.message.message_id, failure.attempt] + delay_ms,
                    member.world.mono_ms, held.generation,
                )
            )  # fmt: skip
        member.groups.promises.append(
            Promise(
                group.name, held.queue, asked_ms, member.world.mono_ms, offsets, held.generation
            )
        )
