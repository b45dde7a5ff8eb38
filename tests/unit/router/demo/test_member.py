"""What a member of the demonstration tells, and what is read of it when it is killed."""

from __future__ import annotations

from io import BytesIO

import pytest

from shardmq.router.demo.member import Taken, Told, frames_of, tell

TAKEN = Taken(b"1,2,3", "UA", "N14228", ("UA1545", "EWR-IAH"), {"origin": "EWR"}, 3, 4711)
FIRST = Told(17, [0, 3], [TAKEN, TAKEN._replace(tag=None, ordering_key=None)])
SECOND = Told(18, [])


def told() -> bytes:
    pipe = BytesIO()
    tell(pipe, FIRST)
    tell(pipe, SECOND)
    return pipe.getvalue()


def test_what_was_told_is_read_as_it_was() -> None:
    assert list(frames_of(BytesIO(told()))) == [FIRST, SECOND]


@pytest.mark.parametrize("lost_bytes", [1, 3, 5])
def test_a_frame_that_was_cut_short_is_left_out(lost_bytes: int) -> None:
    assert list(frames_of(BytesIO(told()[:-lost_bytes]))) == [FIRST]
