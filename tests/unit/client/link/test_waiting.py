"""The values of those who wait."""

from __future__ import annotations

from shardmq.client.link.waiting import Waiter


def test_a_waiter_comes_back_unless_it_says_that_it_leaves() -> None:
    woken: list[bool] = []
    waiter = Waiter(lambda: bool(woken), lambda: woken.append(True))
    assert (waiter.done(), waiter.leaves) == (False, False)
    waiter.wake()
    assert waiter.done()
    assert Waiter(bool, bool, leaves=True).leaves
