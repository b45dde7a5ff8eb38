"""FETCH for a group: no news is lost, and none comes twice, whatever a turn is allowed to do."""

from __future__ import annotations

import random

import pytest

from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol.batch import BatchView, read_batch_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import Grant, GrantQueue
from shardmq.actors.protocol.messages import FetchReply
from shardmq.actors.protocol.verbs import Verb
from shardmq.shards import answers, filters
from support.grouped import GroupedShard
from support.shards import Reply, batch, batches_in, opened, topic


class Member:
    """Reads queues for a group: always one poll, from where the last answer ended."""

    def __init__(self, shard: GroupedShard, session: int, group_id: int) -> None:
        self.shard = shard
        self.session = session
        self.group_id = group_id
        self.generation = 0
        self.next = dict.fromkeys((1, 2, 3), 0)
        self.seen: list[tuple[int, int]] = []
        self.fenced = 0

    def grant(self) -> list[Reply]:
        self.generation += 1
        rows = [
            GrantQueue(queue=queue, generation=self.generation, member="ann", expression="paid")
            for queue in self.next
        ]
        grant = Grant(group_id=self.group_id, group="billing", queues=rows)
        return self.shard.turn([self.shard.letter(Verb.GRANT, grant)])

    def poll(self) -> Letter:
        return self.shard.group_fetch_letter(
            *self.next.items(),
            generation=self.generation,
            group_id=self.group_id,
            session=self.session,
            wait_ms=1_000,
        )

    def take(self, reply: Reply) -> None:
        payload = iter(reply.payload)
        for result in reply.header.queues:
            if result.code == Code.FENCED:
                self.fenced += 1
                continue
            assert result.code == Code.OK
            assert result.next_offset > self.next[result.queue]
            if result.frames:
                for frame in batches_in(next(payload)):
                    view = BatchView(frame, read_batch_header(frame))
                    first = view.head.first_sequence
                    tags = enumerate(view.tags() or [])
                    self.seen += [(result.queue, first + row) for row, tag in tags if tag == "paid"]
            self.next[result.queue] = result.next_offset


@pytest.mark.parametrize("seed", range(10))
def test_every_selected_message_is_seen_once_whatever_the_turns(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(answers, "SEARCH_COST_MAX", chance.choice([1, 9_000, 1 << 20]))
    monkeypatch.setattr("shardmq.shards.fetch.TURN_BYTES_MAX", chance.choice([1, 9_000, 1 << 20]))
    monkeypatch.setattr(filters, "PIECE_BYTES", chance.choice([1, 400, 1 << 17]))
    shard = GroupedShard()
    shard.define(topic(numbers=(1, 2, 3)))
    members = {8: Member(shard, 8, 20), 9: Member(shard, 9, 21)}
    for member in members.values():
        member.grant()
    stored = []
    inbox = [member.poll() for member in members.values()]
    for step in range(250):
        kind = chance.random()
        replies: list[Reply] = []
        if kind < 0.6 and step < 200:
            queue = chance.choice([1, 2, 3])
            tags = chance.choices(["paid", "open", None], [1, 6, 2], k=chance.randrange(1, 4))
            first = 10 * step
            frame = batch([b"x"] * len(tags), tags=tags, sequence=first, producer_id=queue)
            inbox.append(shard.produce_letter((queue, frame), ack="none"))
            stored += [(queue, first + row) for row, tag in enumerate(tags) if tag == "paid"]
        elif kind < 0.65:
            replies += chance.choice(list(members.values())).grant()
        elif kind < 0.9:
            replies += shard.sync()
        else:
            shard.clock.advance(chance.choice([10, 300, 1_000]))
        # One call of the core at a time, so that searches stop in the middle.
        replies += [opened(one) for one in shard.core.handle(inbox, shard.clock.now())]
        shard.journal.write()
        inbox = []
        for reply in replies:
            if reply.session in members and isinstance(reply.header, FetchReply):
                members[reply.session].take(reply)
                inbox.append(members[reply.session].poll())
    replies = shard.turn(inbox) + shard.sync() + shard.turn()
    while any(reply.header.queues for reply in replies if reply.session in members):
        inbox = []
        for reply in replies:
            if reply.session in members:
                members[reply.session].take(reply)
                inbox.append(members[reply.session].poll())
        replies = shard.turn(inbox) + shard.sync() + shard.pass_time(1_000)
    for member in members.values():
        assert sorted(member.seen) == sorted(stored)
    assert all(len(set(member.seen)) == len(member.seen) for member in members.values())
