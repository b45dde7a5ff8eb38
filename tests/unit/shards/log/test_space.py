"""Whether there is room for user data."""

from __future__ import annotations

from shardmq.shards.log.space import Space
from support.journals import options


def test_watermarks_are_crossed_and_left_again() -> None:
    space = Space(options(free_bytes_min=100, free_bytes_retain=200))
    for free_bytes, full, tight in ((300, False, False), (150, False, True), (99, True, True),
                                    (100, False, True), (200, False, False)):  # fmt: skip
        space.looked(free_bytes)
        assert (space.full, space.tight) == (full, tight)


def test_the_reserve_of_a_segment_is_not_for_user_data() -> None:
    space = Space(options(reserve_bytes=256))
    assert space.fits(1000, 2048, 792)
    assert not space.fits(1000, 2048, 793)


def test_what_lets_older_data_go_is_taken_for_longer() -> None:
    space = Space(options(free_bytes_min=100, free_bytes_retain=200))
    for free_bytes, full in ((99, False), (50, False), (49, True)):
        space.looked(free_bytes)
        assert (space.full, space.full_to_finish) == (True, full)
