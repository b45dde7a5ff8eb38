"""The release clock: one RELEASE parked per shard, and another one when something is due."""

from __future__ import annotations

import pytest

from shardmq.actors.coordinator.release_clock import RETRY_MS, STEP_MS, WAIT_MS, ReleaseClock
from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol.codec import decode_header, encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import pack_reply, unpack_route
from shardmq.actors.protocol.group_messages import Release, ReleaseReply
from support.clock import ManualClock


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.untold: set[str] = set()
        self.core = ReleaseClock(2, epoch=1, is_told=lambda link: link not in self.untold)

    def up(self, link: str = "shard-0") -> Release:
        self.core.link_changed(link, True, self.clock.now())
        return self.one()

    def one(self) -> Release:
        [self.letter] = self.core.letters(self.clock.now())
        return decode_header(self.letter[2][2], Release)

    def is_quiet(self) -> bool:
        return not self.core.letters(self.clock.now())

    def answer(self, due_ms: int, code: Code = Code.OK, letter: Letter | None = None) -> None:
        link, _, frames = letter or self.letter
        route = unpack_route(pack_reply(unpack_route(frames[1]), code))
        header = encode_header(ReleaseReply(next_due_ms=due_ms))
        self.core.replied(link, route, header, self.clock.now())

    @property
    def wall_ms(self) -> int:
        return self.clock.now().wall_ms


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_shard_that_came_is_told_what_time_it_is(bench: Bench) -> None:
    assert bench.core.wake_at_ms is None
    told = bench.up()
    assert (told.until_ms, told.known_due_ms, told.wait_ms) == (bench.wall_ms, 0, WAIT_MS)
    assert bench.is_quiet()
    assert bench.core.wake_at_ms == WAIT_MS + RETRY_MS


def test_what_is_due_next_brings_a_release_at_that_moment(bench: Bench) -> None:
    bench.up()
    due_ms = bench.wall_ms + 5_000
    bench.clock.advance(STEP_MS)
    bench.answer(due_ms)
    assert bench.one().known_due_ms == due_ms
    assert bench.core.wake_at_ms == 5_000
    bench.clock.advance(5_000 - STEP_MS - 1)
    assert bench.is_quiet()
    bench.clock.advance(1)
    assert (bench.one().until_ms, bench.is_quiet()) == (due_ms, True)


def test_the_answer_to_one_that_was_replaced_says_nothing(bench: Bench) -> None:
    bench.up()
    bench.clock.advance(50)
    bench.answer(bench.wall_ms + 100)
    bench.one()
    former = bench.letter
    bench.clock.advance(100)
    bench.one()
    bench.answer(bench.wall_ms + 1, letter=former)
    bench.clock.advance(100)
    assert bench.is_quiet()


def test_due_times_close_together_share_a_release(bench: Bench) -> None:
    bench.up()
    for _ in range(3):
        bench.answer(bench.wall_ms + 1)
        assert bench.is_quiet()
        bench.clock.advance(STEP_MS)
        bench.one()


def test_an_answer_without_news_is_followed_by_the_next_request(bench: Bench) -> None:
    bench.up()
    bench.clock.advance(WAIT_MS)
    bench.answer(0)
    assert bench.one().until_ms == bench.wall_ms


def test_what_is_due_while_the_shard_works_is_not_asked_for_again_and_again(bench: Bench) -> None:
    bench.up()
    bench.clock.advance(STEP_MS)
    bench.answer(bench.wall_ms - 5)
    bench.one()
    bench.clock.advance(STEP_MS)
    assert bench.is_quiet()


@pytest.mark.parametrize("code", [Code.DISK_FULL, Code.INTERNAL])
def test_a_refusal_is_followed_by_another_try(bench: Bench, code: Code) -> None:
    bench.up()
    bench.answer(0, code)
    bench.clock.advance(RETRY_MS - 1)
    assert bench.is_quiet()
    bench.clock.advance(1)
    bench.one()


def test_a_shard_that_knows_no_schedule_is_left_alone(bench: Bench) -> None:
    bench.up()
    bench.answer(0, Code.UNKNOWN_VERB)
    bench.clock.advance(100_000)
    assert (bench.is_quiet(), bench.core.wake_at_ms) == (True, None)
    bench.up()


def test_a_lost_answer_is_made_up_for(bench: Bench) -> None:
    bench.up()
    bench.clock.advance(WAIT_MS + RETRY_MS)
    bench.one()


def test_when_the_wall_clock_is_set_back_the_watermark_goes_on(bench: Bench) -> None:
    first = bench.up()
    bench.clock.advance(STEP_MS)
    bench.answer(first.until_ms + 5_000)
    bench.one()
    bench.clock.step_wall(-3_600_000)
    bench.clock.advance(5_000 - STEP_MS)
    assert bench.one().until_ms == first.until_ms + 5_000


def test_when_the_wall_clock_is_set_forward_the_watermark_follows(bench: Bench) -> None:
    bench.up()
    bench.clock.step_wall(3_600_000)
    bench.clock.advance(WAIT_MS)
    bench.answer(0)
    assert bench.one().until_ms == bench.wall_ms


def test_shards_go_and_come_each_for_itself(bench: Bench) -> None:
    bench.up("shard-0")
    bench.core.link_changed("shard-0", False, bench.clock.now())
    assert bench.core.wake_at_ms is None
    bench.up("shard-1")
    assert bench.letter[0] == "shard-1"
    assert bench.core.stats() == {"releases_sent": 2}


def test_a_shard_hears_of_topics_first(bench: Bench) -> None:
    bench.untold = {"shard-0"}
    bench.core.link_changed("shard-0", True, bench.clock.now())
    assert (bench.is_quiet(), bench.core.wake_at_ms) == (True, None)
    bench.untold.clear()
    bench.one()
