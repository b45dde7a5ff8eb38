"""The coordinator's core: nothing undurable leaves, and who has an answer can produce."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from shardmq.actors.coordinator import coordinator as module
from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.coordinator.coordinator import Coordinator
from shardmq.actors.coordinator.decisions import Policy
from shardmq.actors.coordinator.groups import Groups
from shardmq.actors.coordinator.publishing import RETRY_MS
from shardmq.actors.kernel.ports import Letter
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.frames import pack_reply, pack_request, unpack_route
from shardmq.actors.protocol.verbs import Verb
from support.manual import at
from support.memory_journal import MemoryJournal

ENVELOPE = b"envelope of the router .."


class Bench:
    """A coordinator, its journal and shards that answer when told to."""

    def __init__(self, links: tuple[str, ...] = ("shard-0", "shard-1")) -> None:
        self.catalogue = Catalogue()
        self.groups = Groups()
        self.journal = MemoryJournal(self.catalogue, self.groups)
        self.core = Coordinator(self.journal, self.catalogue, self.groups, Policy(shards=2))
        for link in links:
            self.serve(self.core.link_changed(link, True, at(0)))

    def serve(self, letters: list[Letter]) -> list[Letter]:
        """Has the shards answer everything; returns what goes to the mailbox."""
        answers: list[Letter] = []
        while letters:
            answers += [one for one in letters if one[0] == "mailbox"]
            defines = [answer(one) for one in letters if one[0] != "mailbox"]
            letters = self.core.handle(defines, at(0)) if defines else []
        return answers

    def ask(self, *letters: Letter) -> list[Letter]:
        return self.core.handle(letters, at(0))

    def sync(self) -> list[Letter]:
        self.journal.sync()
        return self.core.durable_advanced(at(0))


def answer(told: Letter, code: Code = Code.OK) -> Letter:
    link, _, frames = told
    route = unpack_route(frames[1])
    if route.verb == Verb.RELEASE:
        code = Code.UNKNOWN_VERB
    return link, b"", [frames[0], pack_reply(route, code), b"\x80"]


def create(topic: str, request_id: int = 1, **wish: Any) -> Letter:
    return request(Verb.TOPIC_CREATE, m.TopicCreate(topic=topic, **wish), request_id)


def request(verb: Verb, wish: m.Header, request_id: int = 1) -> Letter:
    frames = [ENVELOPE, pack_request(verb, request_id, 1_000), encode_header(wish)]
    return "mailbox", b"router-0", frames


def codes_of(letters: list[Letter]) -> list[tuple[int, Code]]:
    """(request id, code) of answers; the envelope came back untouched."""
    found = []
    for link, peer, frames in letters:
        assert (link, peer, frames[0]) == ("mailbox", b"router-0", ENVELOPE)
        route = unpack_route(frames[1])
        found.append((route.request_id, Code(route.tail)))
    return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_creation_is_answered_when_it_is_durable_and_all_shards_know(bench: Bench) -> None:
    assert bench.ask(create("orders")) == []
    defines = bench.sync()
    assert [letter[0] for letter in defines] == ["shard-0", "shard-1"]
    assert bench.core.handle([answer(defines[0])], at(0)) == []
    assert codes_of(bench.core.handle([answer(defines[1])], at(0))) == [(1, Code.OK)]
    assert bench.core.drained()


def test_refusals_and_reads_wait_for_what_they_rest_on(bench: Bench) -> None:
    assert bench.ask(create("orders", 1)) == []
    reads = [
        create("orders", 2),
        request(Verb.ROUTE, m.RouteRequest(topics=["orders"]), 3),
        request(Verb.TOPIC_LIST, m.TopicList(), 4),
    ]
    assert bench.ask(*reads) == []
    letters = [letter for letter in bench.sync() if letter[0] == "mailbox"]
    assert codes_of(letters) == [(2, Code.TOPIC_EXISTS), (3, Code.OK), (4, Code.OK)]


def test_what_rests_on_nothing_new_is_answered_at_once(bench: Bench) -> None:
    letters = bench.ask(request(Verb.ROUTE, m.RouteRequest(topics=["none"])))
    reply = msgspec.msgpack.decode(letters[0][2][2], type=m.RouteReply)
    assert (codes_of(letters), reply.topics[0].code) == ([(1, Code.OK)], Code.TOPIC_NOT_FOUND)


def test_with_a_shard_down_the_others_are_enough() -> None:
    bench = Bench(links=("shard-1",))
    bench.ask(create("orders"))
    assert codes_of(bench.serve(bench.sync())) == [(1, Code.OK)]
    nobody = Bench(links=())
    nobody.ask(create("orders"))
    assert codes_of(nobody.sync()) == [(1, Code.OK)]


def test_a_shard_that_goes_while_it_is_waited_for_is_waited_for_no_more(bench: Bench) -> None:
    bench.ask(create("orders"))
    defines = bench.sync()
    bench.core.handle([answer(defines[0])], at(0))
    assert codes_of(bench.core.link_changed("shard-1", False, at(1))) == [(1, Code.OK)]


def test_a_shard_that_refuses_is_waited_for_no_more(bench: Bench) -> None:
    bench.ask(create("orders"))
    first, second = bench.sync()
    letters = bench.core.handle([answer(first), answer(second, Code.DISK_FULL)], at(0))
    assert codes_of(letters) == [(1, Code.OK)]
    assert bench.core.wake_at_ms == RETRY_MS
    assert [letter[0] for letter in bench.core.handle([], at(RETRY_MS))] == ["shard-1"]


def test_answers_come_in_the_order_of_the_changes(bench: Bench) -> None:
    bench.ask(create("a", 1), create("b", 2))
    first_defines = bench.sync()
    bench.ask(create("c", 3))
    assert codes_of(bench.serve(first_defines)) == [(1, Code.OK), (2, Code.OK)]
    assert codes_of(bench.serve(bench.sync())) == [(3, Code.OK)]


def test_a_change_back_and_forth_within_one_sync_is_told_once(bench: Bench) -> None:
    bench.ask(create("orders", 1), request(Verb.TOPIC_DELETE, m.TopicDelete(topic="orders"), 2))
    answers = bench.serve(bench.sync())
    assert codes_of(answers) == [(1, Code.OK), (2, Code.OK)]


def test_after_a_power_cut_only_the_durable_is_there_and_all_shards_are_told(bench: Bench) -> None:
    bench.ask(create("kept"))
    bench.serve(bench.sync())
    bench.ask(create("lost"))
    catalogue, groups = Catalogue(), Groups()
    journal = bench.journal.replayed_into(catalogue, groups)
    core = Coordinator(journal, catalogue, groups, Policy(shards=2))
    assert catalogue.names() == ["kept"]
    [live] = core.link_changed("shard-0", True, at(0))
    assert msgspec.msgpack.decode(live[2][2], type=m.Define).live_topic_ids == [1]
    rest, groups_told = core.handle([answer(live)], at(0))
    assert unpack_route(groups_told[2][1]).verb == Verb.GRANT
    [clock] = core.handle([answer(rest)], at(0))
    assert unpack_route(clock[2][1]).verb == Verb.RELEASE, "when all topics are known"
    assert [one.topic for one in msgspec.msgpack.decode(rest[2][2], type=m.Define).topics] == [
        "kept"
    ]


def test_a_stop_answers_all_who_wait_and_refuses_the_rest(bench: Bench) -> None:
    bench.ask(create("a", 1), request(Verb.ROUTE, m.RouteRequest(topics=["a"]), 2))
    assert not bench.core.drained()
    stopped = codes_of(bench.core.stop(at(1)))
    assert stopped == [(2, Code.SHUTTING_DOWN), (1, Code.SHUTTING_DOWN)]
    assert bench.core.drained()
    bench.journal.sync()
    answers = [letter for letter in bench.ask(create("b", 3)) if letter[0] == "mailbox"]
    assert codes_of(answers) == [(3, Code.SHUTTING_DOWN)]


def test_too_many_who_wait_are_told_to_come_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 1)
    refusals = bench.ask(create("a", 1), create("b", 2), create("c", 3))
    assert codes_of(refusals) == [(2, Code.BUSY), (3, Code.BUSY)], "at once: the disk may hang"
    assert bench.core.stats()["waiting_for_disk"] == 0
    assert codes_of(bench.serve(bench.sync())) == [(1, Code.OK)]
    assert bench.catalogue.names() == ["a"]


@pytest.mark.parametrize("frames", [[], [b"x"], [b"x", b"y" * 24, b""], [b"x", b"short", b""]])
@pytest.mark.parametrize("link", ["mailbox", "shard-0"])
def test_malformed_letters_are_counted_and_dropped(
    bench: Bench, link: str, frames: list[bytes]
) -> None:
    assert bench.ask((link, b"p", frames)) == []
    assert bench.core.stats()["malformed_requests"] == 1


def test_an_unknown_verb_is_refused(bench: Bench) -> None:
    letters = bench.ask(("mailbox", b"router-0", [ENVELOPE, pack_request(77, 5, 1)]))
    assert codes_of(letters) == [(5, Code.UNKNOWN_VERB)]


def test_a_system_topic_can_be_made_from_inside(bench: Bench) -> None:
    bench.core.ensure_system_topic("%SYS%trace", at(0))
    assert [letter[0] for letter in bench.sync()] == ["shard-0", "shard-1"]
    assert bench.core.ensure_system_topic("%SYS%trace", at(0)) == []


def test_figures_say_what_there_is(bench: Bench) -> None:
    bench.ask(create("orders", queues=3))
    stats = bench.core.stats()
    assert (stats["topics"], stats["queues"], stats["shards_up"]) == (1, 3, 2)
    assert stats["waiting_for_shards"] == 1
