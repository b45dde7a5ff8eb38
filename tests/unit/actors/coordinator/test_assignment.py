"""Assignment strategies: whole, balanced, deterministic, and moving no more than they must."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, combinations, pairwise
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
pool_lists = queue_lists.flatmap(
    lambda queues: st.lists(st.integers(0, len(queues)), max_size=2).map(
        lambda cuts: [queues[a:b] for a, b in pairwise([0, *sorted(cuts), len(queues)])]
    )
)
"""Some queues in one, two or three pools."""


def moves(before: Mapping[int, str], after: Mapping[int, str]) -> int:
    return sum(after.get(queue) != member for queue, member in before.items())


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(members=member_sets, pools=pool_lists, data=st.data())
def test_every_queue_has_one_member_whatever_was_before(
    strategy: Strategy, members: list[str], pools: list[list[int]], data: st.DataObject
) -> None:
    queues = list(chain.from_iterable(pools))
    owners = st.sampled_from([*members, "gone", ""])
    held = data.draw(st.dictionaries(st.sampled_from(queues or [1]), owners))
    found = assigned(strategy, members, pools, held)
    assert set(found) == (set(queues) if members else set())
    assert set(found.values()) <= set(members)
    assert found == assigned(strategy, members[::-1], pools, dict(held))


@pytest.mark.parametrize("strategy", ["sticky", "average", "circle"])
@given(members=member_sets.filter(bool), pools=pool_lists, data=st.data())
def test_shares_of_each_pool_and_of_all_differ_by_one_at_most(
    strategy: Strategy, members: list[str], pools: list[list[int]], data: st.DataObject
) -> None:
    queues = list(chain.from_iterable(pools))
    held = data.draw(st.dictionaries(st.sampled_from(queues or [1]), st.sampled_from(members)))
    found = assigned(strategy, members, pools, held)
    for some in [*pools, queues]:
        counts = Counter(found[queue] for queue in some)
        sizes = [counts[member] for member in members]
        assert max(sizes) - min(sizes) <= 1


@given(members=member_sets.filter(bool), queues=queue_lists, data=st.data())
def test_sticky_moves_as_few_queues_as_balance_allows(
    members: list[str], queues: list[int], data: st.DataObject
) -> None:
    owner = st.sampled_from([*members, "gone"])
    held = {queue: data.draw(owner) for queue in queues}
    kept = len(queues) - moves(held, assigned("sticky", members, [queues], held))
    share, larger = divmod(len(queues), len(members))
    sizes = sorted((list(held.values()).count(member) for member in members), reverse=True)
    assert kept == sum(min(size, share + (rank < larger)) for rank, size in enumerate(sizes))


def fewest_moves(
    members: Sequence[str], pools: Sequence[Sequence[int]], held: Mapping[int, str]
) -> int:
    """Of all divisions of two pools that are even in each and together, by trying all."""
    splits = []
    for queues in pools:
        share, larger = divmod(len(queues), len(members))
        had = Counter(held[queue] for queue in queues)
        splits.append([
            (chosen, sum(min(had[one], share + (one in chosen)) for one in members))
            for chosen in combinations(members, larger)
        ])  # fmt: skip
    kept = 0
    for first, kept_first in splits[0]:
        for second, kept_second in splits[1]:
            loads = [(one in first) + (one in second) for one in members]
            if max(loads) - min(loads) <= 1:
                kept = max(kept, kept_first + kept_second)
    return sum(map(len, pools)) - kept


@given(
    members=st.sets(st.sampled_from("abcde"), min_size=1).map(sorted),
    sizes=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    data=st.data(),
)
def test_sticky_moves_as_few_queues_of_two_pools_as_balance_of_both_allows(
    members: list[str], sizes: tuple[int, int], data: st.DataObject
) -> None:
    pools = [range(sizes[0]), range(100, 100 + sizes[1])]
    owner = st.sampled_from([*members, "gone"])
    held = {queue: data.draw(owner) for queue in chain.from_iterable(pools)}
    found = assigned("sticky", members, pools, held)
    assert moves(held, found) == fewest_moves(members, pools, held)
    alone = assigned("sticky", members, pools[:1], held)
    first = {queue: held[queue] for queue in pools[0]}
    assert moves(first, found) == moves(first, alone), "the second pool costs the first nothing"


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(members=member_sets, pools=pool_lists)
def test_the_outcome_is_at_rest(
    strategy: Strategy, members: list[str], pools: list[list[int]]
) -> None:
    once = assigned(strategy, members, pools, {})
    assert assigned(strategy, members, pools, once) == once


@given(members=member_sets.filter(bool), pools=pool_lists)
def test_on_the_ring_pools_make_no_difference(members: list[str], pools: list[list[int]]) -> None:
    whole = assigned("hash", members, [list(chain.from_iterable(pools))], {})
    assert assigned("hash", members, pools, {}) == whole


@given(members=member_sets.filter(lambda some: len(some) > 1), queues=queue_lists)
def test_on_the_ring_only_the_queues_of_who_came_or_went_move(
    members: list[str], queues: list[int]
) -> None:
    few = assigned("hash", members[1:], [queues], {})
    many = assigned("hash", members, [queues], few)
    assert all(many[queue] in (owner, members[0]) for queue, owner in few.items())


def test_average_gives_blocks_and_circle_deals_one_by_one() -> None:
    queues = [11, 12, 13, 21, 22]
    average = assigned("average", ["b", "a"], [queues], {})
    assert average == {11: "a", 12: "a", 13: "a", 21: "b", 22: "b"}
    circle = assigned("circle", ["b", "a"], [queues], {})
    assert circle == {11: "a", 12: "b", 13: "a", 21: "b", 22: "a"}


def test_sticky_spreads_the_queues_of_each_topic() -> None:
    found = assigned("sticky", ["a", "b"], [[11, 12, 21, 22]], {})
    assert found == {11: "a", 12: "b", 21: "a", 22: "b"}


@pytest.mark.parametrize(
    ("strategy", "first", "second"),
    [
        ("sticky", {1: "a", 2: "b", 3: "a"}, {11: "a", 12: "b", 13: "b"}),
        ("average", {1: "a", 2: "a", 3: "b"}, {11: "a", 12: "b", 13: "b"}),
        ("circle", {1: "a", 2: "b", 3: "a"}, {11: "b", 12: "a", 13: "b"}),
    ],
)
def test_who_has_more_of_one_pool_has_less_of_the_next(
    strategy: Strategy, first: dict[int, str], second: dict[int, str]
) -> None:
    found = assigned(strategy, ["a", "b"], [list(first), list(second)], {})
    assert found == first | second


def test_the_ring_shares_out_fairly_enough() -> None:
    counts = Counter(assigned("hash", [f"m{n}" for n in range(8)], [range(8_000)], {}).values())
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
