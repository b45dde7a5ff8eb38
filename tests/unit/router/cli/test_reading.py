"""Where a `consume` starts, and when it has all that it came for."""

from __future__ import annotations

import pytest

from shardmq.router.cli.reading import Ends, Start, start_of
from shardmq.router.quantities import QuantityError


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("earliest", Start(place="earliest")),
        (" Latest ", Start(place="latest")),
        ("4711", Start(offset=4711)),
        ("-10m", Start(time_ms=400_000)),
        ("2013-01-31T08:00:00Z", Start(time_ms=1_359_619_200_000)),
    ],
)
def test_a_start_is_a_place_an_offset_or_a_time(text: str, start: Start) -> None:
    assert start_of(text, now_ms=1_000_000) == start


def test_no_start_is_refused_with_examples() -> None:
    for text in ("", "soon", "-5", "4.5"):
        with pytest.raises(QuantityError, match="earliest, latest"):
            start_of(text, now_ms=0)


def test_a_reader_ends_at_what_was_the_end_when_it_began() -> None:
    ends = Ends({0: 0, 1: 5, 2: 7}, {0: 2, 1: 5, 2: 8})
    assert not ends.all_reached
    assert ends.reached(0, 1)
    assert ends.reached(0, 2)
    assert not ends.reached(0, 3), "it came after we began"
    assert not ends.reached(1, 6), "queue 1 was empty for us from the start"
    assert ends.reached(2, 8)
    assert ends.all_reached


def test_a_position_behind_the_end_ends_the_queue_too() -> None:
    ends = Ends({0: 0}, {0: 10})
    assert not ends.reached(0, 25), "retention took what we came for"
    assert ends.all_reached


def test_nothing_to_read_is_the_end_at_once() -> None:
    assert Ends({}, {}).all_reached
    assert Ends({0: 3}, {0: 3}).all_reached
