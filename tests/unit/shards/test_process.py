"""The process: a real one, on real files, that is killed and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shardmq.actors.kernel.process import ExitCode
from shardmq.actors.kernel.spawn import Child, ChildSpec
from shardmq.actors.protocol.codec import decode_header, encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.messages import (
    Define,
    DefineReply,
    Fetch,
    FetchQueue,
    FetchReply,
    Produce,
    ProduceQueue,
    ProduceReply,
    StatsReply,
)
from shardmq.actors.protocol.verbs import Verb
from shardmq.shards.process import ShardConfig
from support.actors import Caller, address, run_directory
from support.shards import batch, batches_in, topic


@pytest.fixture
def directory() -> Iterator[Path]:
    with run_directory() as path:
        yield path


@contextmanager
def shard(directory: Path, **config: Any) -> Iterator[Child]:
    mailbox = address(directory, "shard-0")
    data = str(directory / "data")
    config = {"shard": 0, "mailbox": mailbox, "directory": data, **config}
    child = Child(ChildSpec("shard-0", "shardmq.shards.process", mailbox, ShardConfig(**config)))
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        child.close()


def ask(caller: Caller, verb: int, header: Any, reply: type, *payload: bytes) -> Any:
    caller.send(verb, *payload, header=encode_header(header))
    route, (answer, *frames) = caller.receive()
    assert route.tail == Code.OK, answer
    return decode_header(answer, reply), frames


def fetch(caller: Caller) -> list[bytes]:
    """All batches of queue 1."""
    header = Fetch(queues=[FetchQueue(queue=1, offset=0)])
    _, frames = ask(caller, Verb.FETCH, header, FetchReply)
    return [one for frame in frames for one in batches_in(frame)]


def test_what_was_acknowledged_is_there_after_a_kill(directory: Path) -> None:
    sent = [batch([b"body"], sequence=sequence) for sequence in range(3)]
    produce = Produce(queues=[ProduceQueue(queue=1)])
    with shard(directory), Caller(address(directory, "shard-0")) as caller:
        ask(caller, Verb.DEFINE, Define(topics=[topic()]), DefineReply)
        for frame in sent:
            reply, _ = ask(caller, Verb.PRODUCE, produce, ProduceReply, frame)
            assert reply.queues[0].code == Code.OK
        assert fetch(caller) == sent
    with shard(directory), Caller(address(directory, "shard-0")) as caller:
        assert fetch(caller) == sent
        reply, _ = ask(caller, Verb.PRODUCE, produce, ProduceReply, sent[-1])
        assert reply.queues[0].duplicate


def test_stats_have_the_loops_the_shards_and_the_journals_figures(directory: Path) -> None:
    with shard(directory), Caller(address(directory, "shard-0")) as caller:
        _, (answer,) = caller.ask(Verb.STATS)
        stats = decode_header(answer, StatsReply)
        assert stats.actor == "shard-0"
        assert stats.figures["queues"] == 0
        assert stats.figures["journal"]["segments"] == 1
        assert stats.figures["rss_bytes"] > 0


def test_a_stop_answers_parked_polls_and_ends_in_order(directory: Path) -> None:
    with shard(directory) as child, Caller(address(directory, "shard-0")) as caller:
        ask(caller, Verb.DEFINE, Define(topics=[topic()]), DefineReply)
        header = Fetch(queues=[FetchQueue(queue=1, offset=0)], wait_ms=5_000)
        caller.send(Verb.FETCH, header=encode_header(header))
        ask_after = Define()
        caller.send(Verb.DEFINE, header=encode_header(ask_after))
        assert caller.receive()[0].verb == Verb.DEFINE  # so the poll is parked
        child.terminate()
        route, (answer,) = caller.receive()
        assert (route.verb, route.tail) == (Verb.FETCH, Code.OK)
        assert decode_header(answer, FetchReply) == FetchReply()
        assert child.wait().code == ExitCode.OK


def test_a_directory_in_use_or_a_senseless_option_is_refused_with_a_reason(
    directory: Path,
) -> None:
    with shard(directory), Caller(address(directory, "shard-0")) as caller:
        caller.connect()
        with shard(directory, mailbox=address(directory, "other")) as second:
            ended = second.wait()
            assert ended.code == ExitCode.REFUSED
            assert "in use" in ended.reason
    with shard(directory, journal={"segment_bytes": 1}) as senseless:
        ended = senseless.wait()
        assert ended.code == ExitCode.REFUSED
        assert "a segment holds at least" in ended.reason
