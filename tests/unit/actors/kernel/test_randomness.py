"""Random numbers stay in their ranges and differ."""

from __future__ import annotations

from shardmq.actors.kernel.randomness import SystemRandomness


def test_ids_have_64_bits_and_differ() -> None:
    ids = {SystemRandomness().u64() for _ in range(1_000)}
    assert len(ids) == 1_000
    assert max(ids) < 1 << 64
    assert max(ids) > 1 << 60


def test_uniform_numbers_fill_their_range() -> None:
    numbers = [SystemRandomness().uniform(-2.0, 6.0) for _ in range(2_000)]
    assert all(-2.0 <= number < 6.0 for number in numbers)
    assert min(numbers) < -1.0
    assert max(numbers) > 5.0
