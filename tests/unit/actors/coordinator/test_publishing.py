"""Publishing: each shard is told everything, in order, and nothing that is not certain."""

from __future__ import annotations

import pytest

from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.coordinator.publishing import DEFINE_BYTES_MAX, RETRY_MS, Publishing
from shardmq.actors.coordinator.records import TopicGone, TopicPut, encode_state
from shardmq.actors.coordinator.topics import created
from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol.codec import decode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import Route, unpack_route
from shardmq.actors.protocol.messages import Define
from shardmq.actors.protocol.verbs import Verb
from support.manual import at
from support.memory_journal import MemoryJournal


class Bench:
    """A publishing part over a catalogue that the test changes."""

    def __init__(self, shards: int = 2) -> None:
        self.catalogue = Catalogue()
        self.journal = MemoryJournal(self.catalogue)
        self.undurable: set[int] = set()
        self.publishing = Publishing(
            shards,
            self.catalogue,
            epoch=9,
            live_ids=lambda: sorted(
                {one.topic_id for one in self.catalogue.all()} | self.undurable
            ),
            is_durable=lambda topic_id: topic_id not in self.undurable,
        )

    def put(self, name: str, queues: int = 2) -> int:
        topic = created(
            name,
            topic_id=self.catalogue.next_topic_id,
            first_queue=self.catalogue.next_queue,
            queues=queues,
            shards=2,
            retention_ms=0,
            broker_retention_ms=0,
            now_wall_ms=0,
        )
        self.journal.append_state(encode_state(TopicPut(topic)), at(0), queue=topic.topic_id)
        return topic.topic_id

    def delete(self, topic_id: int) -> None:
        self.journal.append_state(encode_state(TopicGone(topic_id)), at(0), queue=topic_id)

    def up(self, *links: str) -> None:
        """Links that are up and have been told everything."""
        for link in links:
            self.publishing.link_changed(link, True)
        while letters := self.publishing.letters(at(0)):
            self.answer(*letters)

    def answer(self, *letters: Letter, code: Code = Code.OK, mono_ms: float = 0) -> None:
        for link, _, frames in letters:
            asked = unpack_route(frames[1])
            reply = Route(asked.verb, 1, 0, asked.request_id, code)
            self.publishing.replied(link, reply, at(mono_ms))


def define_of(letter: Letter) -> Define:
    assert unpack_route(letter[2][1]).verb == Verb.DEFINE
    return decode_header(letter[2][2], Define)


def names_of(letters: list[Letter]) -> list[list[str]]:
    return [[topic.topic for topic in define_of(letter).topics] for letter in letters]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_shard_that_came_is_told_who_lives_then_every_topic(bench: Bench) -> None:
    first, second = bench.put("a"), bench.put("b")
    bench.publishing.link_changed("shard-0", True)
    assert bench.publishing.lowest_mark() == 0
    [live] = bench.publishing.letters(at(0))
    assert (live[0], define_of(live).live_topic_ids) == ("shard-0", [first, second])
    assert bench.publishing.letters(at(0)) == []
    bench.answer(live)
    letters = bench.publishing.letters(at(0))
    assert names_of(letters) == [["a", "b"]]
    assert define_of(letters[0]).live_topic_ids is None
    assert bench.publishing.lowest_mark() == 0
    bench.answer(*letters)
    assert bench.publishing.lowest_mark() is None
    assert bench.publishing.letters(at(0)) == []


def test_a_shard_is_complete_when_it_has_heard_of_all_topics_since_it_came(bench: Bench) -> None:
    bench.put("a")
    bench.publishing.link_changed("shard-0", True)
    [live] = bench.publishing.letters(at(0))
    bench.answer(live)
    assert not bench.publishing.has_sent("shard-0")
    letters = bench.publishing.letters(at(0))
    assert bench.publishing.has_sent("shard-0")
    assert not bench.publishing.is_complete("shard-0")
    bench.answer(*letters)
    bench.publishing.changed(bench.put("b"), 100)
    assert not bench.publishing.has_sent("shard-0")
    bench.answer(*bench.publishing.letters(at(0)), code=Code.DISK_FULL)
    assert bench.publishing.is_complete("shard-0"), "a shard that refuses news is there"
    bench.publishing.link_changed("shard-0", False)
    assert not bench.publishing.is_complete("shard-0")


def test_a_change_is_told_to_every_shard_that_is_there(bench: Bench) -> None:
    bench.up("shard-0", "shard-1")
    bench.publishing.changed(bench.put("a"), 100)
    letters = bench.publishing.letters(at(0))
    assert [letter[0] for letter in letters] == ["shard-0", "shard-1"]
    assert names_of(letters) == [["a"], ["a"]]
    bench.answer(letters[0])
    assert bench.publishing.lowest_mark() == 100
    bench.answer(letters[1])
    assert bench.publishing.lowest_mark() is None


def test_a_shard_that_is_away_holds_up_nobody_and_is_told_later(bench: Bench) -> None:
    bench.up("shard-0")
    bench.publishing.changed(bench.put("a"), 100)
    bench.answer(*bench.publishing.letters(at(0)))
    assert bench.publishing.lowest_mark() is None
    bench.publishing.link_changed("shard-1", True)
    assert bench.publishing.lowest_mark() == 0
    bench.publishing.link_changed("shard-1", False)
    assert bench.publishing.lowest_mark() is None


def test_what_changes_while_a_define_is_out_goes_with_the_next_one(bench: Bench) -> None:
    bench.up("shard-0")
    one = bench.put("a")
    bench.publishing.changed(one, 100)
    first = bench.publishing.letters(at(0))
    bench.publishing.changed(bench.put("b"), 200)
    bench.publishing.changed(one, 300)
    assert bench.publishing.letters(at(0)) == []
    bench.answer(*first)
    assert bench.publishing.lowest_mark() == 200
    assert names_of(bench.publishing.letters(at(0))) == [["b", "a"]]


def test_a_deletion_is_told_by_the_list_of_those_that_live(bench: Bench) -> None:
    bench.up("shard-0")
    kept, gone = bench.put("a"), bench.put("b")
    bench.publishing.changed(kept, 100)
    bench.publishing.changed(gone, 200)
    bench.delete(gone)
    bench.publishing.changed(gone, 300)
    live = bench.publishing.letters(at(0))
    assert define_of(live[0]).live_topic_ids == [kept]
    bench.answer(*live)
    assert bench.publishing.lowest_mark() == 100
    assert names_of(bench.publishing.letters(at(0))) == [["a"]]


def test_what_is_not_durable_is_not_told(bench: Bench) -> None:
    bench.up("shard-0")
    topic_id = bench.put("a")
    bench.publishing.changed(topic_id, 100)
    bench.undurable = {topic_id}
    assert bench.publishing.letters(at(0)) == []
    bench.undurable = set()
    assert names_of(bench.publishing.letters(at(0))) == [["a"]]


def test_silence_is_asked_again_and_a_late_answer_to_the_first_is_nothing(bench: Bench) -> None:
    bench.up("shard-0")
    bench.publishing.changed(bench.put("a"), 100)
    first = bench.publishing.letters(at(0))
    assert bench.publishing.wake_at_ms == RETRY_MS
    assert bench.publishing.letters(at(RETRY_MS - 1)) == []
    second = bench.publishing.letters(at(RETRY_MS))
    assert names_of(second) == [["a"]]
    bench.answer(*first)
    assert bench.publishing.lowest_mark() == 100
    bench.answer(*second)
    assert bench.publishing.lowest_mark() is None
    assert bench.publishing.wake_at_ms is None


def test_a_shard_that_refuses_holds_up_nobody_and_is_asked_again(bench: Bench) -> None:
    bench.up("shard-0")
    gone = bench.put("a")
    bench.publishing.changed(gone, 100)
    bench.answer(*bench.publishing.letters(at(0)), code=Code.DISK_FULL)
    assert bench.publishing.lowest_mark() is None
    assert bench.publishing.letters(at(1)) == []
    assert bench.publishing.wake_at_ms == RETRY_MS
    bench.delete(gone)
    bench.publishing.changed(gone, 200)
    again = bench.publishing.letters(at(RETRY_MS))
    assert define_of(again[0]).live_topic_ids == []
    bench.answer(*again)
    assert bench.publishing.lowest_mark() is None


def test_a_lost_first_message_of_a_series_is_sent_again(bench: Bench) -> None:
    bench.put("a")
    bench.publishing.link_changed("shard-0", True)
    bench.publishing.letters(at(0))
    [again] = bench.publishing.letters(at(RETRY_MS))
    assert define_of(again).live_topic_ids == [1]


def test_a_long_series_comes_in_pieces(bench: Bench) -> None:
    count = 40
    for number in range(count):
        bench.put(f"t{number}", queues=500)
    bench.publishing.link_changed("shard-0", True)
    bench.answer(*bench.publishing.letters(at(0)))
    told: list[str] = []
    while letters := bench.publishing.letters(at(0)):
        assert len(letters[0][2][2]) <= DEFINE_BYTES_MAX
        told += names_of(letters)[0]
        bench.answer(*letters)
    assert told == [f"t{number}" for number in range(count)]


def test_a_topic_larger_than_a_piece_goes_alone(bench: Bench) -> None:
    bench.up("shard-0")
    for name in ("a", "wide", "c"):
        bench.publishing.changed(bench.put(name, queues=16_384 if name == "wide" else 1), 100)
    pieces = []
    while letters := bench.publishing.letters(at(0)):
        pieces += names_of(letters)
        bench.answer(*letters)
    assert pieces == [["a"], ["wide"], ["c"]]


def test_a_reconnect_forgets_what_was_out(bench: Bench) -> None:
    bench.up("shard-0")
    bench.publishing.changed(bench.put("a"), 100)
    old = bench.publishing.letters(at(0))
    bench.publishing.link_changed("shard-0", False)
    bench.publishing.link_changed("shard-0", True)
    bench.answer(*old)
    assert define_of(bench.publishing.letters(at(1))[0]).live_topic_ids == [1]
