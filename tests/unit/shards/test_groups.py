"""Groups: their figures, and that cursors survive whatever happens to a shard."""

from __future__ import annotations

import random

import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import Grant, Start
from shardmq.actors.protocol.verbs import Verb
from support.grouped import GroupedShard
from support.shards import topic


def test_figures_tell_what_was_granted_and_moved() -> None:
    shard = GroupedShard()
    shard.define(topic())
    shard.fill(1, b"a")
    shard.grant(1)
    shard.grant(2)
    shard.ack(1, 1)
    shard.ack(1, 1)
    shard.ack(2, 0, generation=9)
    figures = shard.core.stats()
    names = ("cursors", "queues_granted", "cursors_moved", "acks_fenced")
    assert [figures[name] for name in names] == [2, 2, 1, 1]


class Model:
    """What a shard should know of its groups, as sets of offsets."""

    def __init__(self) -> None:
        self.generation: dict[tuple[int, int], int] = {}
        self.done: dict[tuple[int, int], set[int]] = {}
        self.ends: dict[int, int] = {}

    def check(self, shard: GroupedShard) -> None:
        known = {(group_id, queue) for group_id, queue, _ in shard.state.cursors.all()}
        assert known == set(self.done)
        for group_id, queue in known:
            told = shard.cursor(queue, group_id=group_id)
            done = self.done[group_id, queue]
            floor = 0
            while floor in done:
                floor += 1
            assert (told.floor, told.generation) == (floor, self.generation[group_id, queue])
            ranges = {one for start, stop in told.ranges for one in range(start, stop)}
            assert ranges == {one for one in done if one > floor}
            assert told.lag == self.ends[queue] - len(done)


@pytest.mark.parametrize("seed", range(8))
def test_cursors_are_as_they_were_decided_whatever_happens(seed: int) -> None:
    """Random grants, acks, resets, deletions, kills and power cuts over tiny segments, so that
    snapshots are cut while records come. What was answered must be there."""
    chance = random.Random(seed)
    shard = GroupedShard(
        segment_bytes=12 * 1024, reserve_bytes=1024, slice_bytes=200, slice_buckets=8
    )
    numbers = [1, 2, 65, 129]
    shard.define(topic(numbers=numbers))
    model = Model()
    model.ends = dict.fromkeys(numbers, 0)
    for _ in range(200):
        queue, group_id = chance.choice(numbers), chance.choice([7, 8, 9])
        key, end = (group_id, queue), model.ends[queue]
        generation = model.generation.get(key, 0)
        kind = chance.random()
        if kind < 0.2:
            shard.fill(queue, *[b"x"] * (count := chance.randrange(1, 6)))
            model.ends[queue] += count
        elif kind < 0.4:
            given = generation + chance.choice([0, 1, 1, 2])
            start = Start(at="offset", offset=chance.randint(0, end))
            is_reset = chance.random() < 0.3
            result = shard.grant(queue, given, group_id=group_id, start=start, reset=is_reset)
            if given > generation:
                if is_reset or key not in model.done:
                    model.done[key] = set(range(start.offset))
                    assert result.floor == start.offset
                model.generation[key] = given
        elif kind < 0.85:
            given = generation + chance.choice([0, 0, 0, -1, 1])
            floor = chance.randint(0, end)
            ranges = [
                (at, min(end, at + chance.randrange(1, 4)))
                for at in chance.sample(range(end), min(end, 3))
            ]
            result = shard.ack(queue, floor, ranges, generation=max(0, given), group_id=group_id)
            in_force = key in model.done and max(0, given) == generation
            assert result.code == (Code.OK if in_force else Code.FENCED)
            if in_force:
                model.done[key] |= set(range(floor))
                model.done[key].update(*(range(start, stop) for start, stop in ranges))
        elif kind < 0.88:
            shard.ask(Verb.GRANT, Grant(live_group_ids=[group_id]))
            for gone in [one for one in model.done if one[0] != group_id]:
                del model.done[gone], model.generation[gone]
        elif kind < 0.94:
            shard.pass_time(chance.choice([3, 60, 11_000]))
        else:
            digests = shard.digests()
            shard.restart(power_cut=chance.random() < 0.5)
            assert shard.digests() == digests
            model.check(shard)
    model.check(shard)
