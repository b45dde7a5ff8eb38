"""Buckets: the cut, and a digest that does not depend on how a state was reached."""

from __future__ import annotations

from shardmq.shards.state.buckets import BUCKETS, digest_of, numbers_by_bucket
from shardmq.shards.state.queues import Queues


def test_numbers_are_grouped_by_their_low_bits_and_sorted() -> None:
    assert numbers_by_bucket([65, 2, 1, 64]) == {0: [64], 1: [1, 65], 2: [2]}


def test_a_digest_sees_the_state_and_not_its_history() -> None:
    one, two = Queues(), Queues()
    for number in (1, 2, 1 + BUCKETS):
        one.at(number).next = number
    for number in (1 + BUCKETS, 2, 1):
        two.at(number).next = number
    assert digest_of(one) == digest_of(two)
    two.at(2).next += 1
    assert digest_of(one) != digest_of(two)
