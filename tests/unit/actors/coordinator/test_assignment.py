"""Assignment strategies: whole, balanced, deterministic, and moving no more than they must."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardmq.actors.coordinator.assignment import assigned, in_common
from shardmq.actors.protocol.group_messages import Strategy
from shardmq.actors.protocol.work_messages import EVERYBODY

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
member_sets = st.lists(st.text("abcdefgh", min_size=1, max_size=3), unique=True, max_size=12)
queue_lists = st.lists(st.integers(1, 10_000), unique=True, max_size=60)


def moves(before: Mapping[int, str], after: Mapping[int, str]) -> int:
    return sum(after.get(queue) != member for queue, member in before.items())


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(members=member_sets, queues=queue_lists, data=st.data())
def test_every_queue_has_one_member_whatever_was_before(
    strategy: Strategy, members: list[str], queues: list[int], data: st.DataObject
) -> None:
    owners = st.sampled_from([*members, "gone", ""])
    held = data.draw(st.dictionaries(st.sampled_from(queues or [1]), owners))
    found = assigned(strategy, members, queues, held)
    assert set(found) == (set(queues) if members else set())
    assert set(found.values()) <= set(members)
    assert found == assigned(strategy, members[::-1], queues, dict(held))


@pytest.mark.parametrize("strategy", ["sticky", "average", "circle"])
@given(members=member_sets.filter(bool), queues=queue_lists, data=st.data())
def test_shares_differ_by_one_at_most(
    strategy: Strategy, members: list[str], queues: list[int], data: st.DataObject
) -> None:
    held = data.draw(st.dictionaries(st.sampled_from(queues or [1]), st.sampled_from(members)))
    counts = Counter(assigned(strategy, members, queues, held).values())
    sizes = [counts[member] for member in members]
    assert max(sizes) - min(sizes) <= 1


@given(members=member_sets.filter(bool), queues=queue_lists, data=st.data())
def test_sticky_moves_as_few_queues_as_balance_allows(
    members: list[str], queues: list[int], data: st.DataObject
) -> None:
    owner = st.sampled_from([*members, "gone"])
    held = {queue: data.draw(owner) for queue in queues}
    kept = len(queues) - moves(held, assigned("sticky", members, queues, held))
    share, larger = divmod(len(queues), len(members))
    sizes = sorted((list(held.values()).count(member) for member in members), reverse=True)
    assert kept == sum(min(size, share + (rank < larger)) for rank, size in enumerate(sizes))


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(members=member_sets, queues=queue_lists)
def test_the_outcome_is_at_rest(strategy: Strategy, members: list[str], queues: list[int]) -> None:
    once = assigned(strategy, members, queues, {})
    assert assigned(strategy, members, queues, once) == once


@given(members=member_sets.filter(lambda some: len(some) > 1), queues=queue_lists)
def test_on_the_ring_only_the_queues_of_who_came_or_went_move(
    members: list[str], queues: list[int]
) -> None:
    few = assigned("hash", members[1:], queues, {})
    many = assigned("hash", members, queues, few)
    assert all(many[queue] in (owner, members[0]) for queue, owner in few.items())


def test_average_gives_blocks_and_circle_deals_one_by_one() -> None:
    queues = [11, 12, 13, 21, 22]
    average = assigned("average", ["b", "a"], queues, {})
    assert average == {11: "a", 12: "a", 13: "a", 21: "b", 22: "b"}
    circle = assigned("circle", ["b", "a"], queues, {})
    assert circle == {11: "a", 12: "b", 13: "a", 21: "b", 22: "a"}


def test_sticky_spreads_the_queues_of_each_topic() -> None:
    found = assigned("sticky", ["a", "b"], [11, 12, 21, 22], {})
    assert found == {11: "a", 12: "b", 21: "a", 22: "b"}


def test_the_ring_shares_out_fairly_enough() -> None:
    counts = Counter(assigned("hash", [f"m{n}" for n in range(8)], range(8_000), {}).values())
    assert len(counts) == 8
    assert min(counts.values()) > 500
    assert max(counts.values()) < 1_600


@given(queues=queue_lists, data=st.data())
def test_in_common_everybody_has_each_queue_and_those_that_it_had_come_first(
    queues: list[int], data: st.DataObject
) -> None:
    holders = st.sampled_from([EVERYBODY, "a", ""])
    held = data.draw(st.dictionaries(st.sampled_from(queues or [1]), holders))
    found = in_common(queues, held)
    assert found == dict.fromkeys(queues, EVERYBODY)
    had = [held.get(queue) == EVERYBODY for queue in found]
    assert had == sorted(had, reverse=True)
