"""Wire: addresses, and what happens to frames and news on a real socket."""

from __future__ import annotations

import select

import pytest
import zmq

from shardmq.client import errors
from shardmq.client.link.core import ClientCore, State
from shardmq.client.link.turning import turn
from shardmq.client.link.wire import DEFAULT_URL, Wire, checked_url, now
from support.actors import eventually
from support.clients import SameRandomness, serve
from support.fake_broker import FakeBroker


def test_an_address_is_the_argument_else_the_environment_else_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert checked_url(None) == DEFAULT_URL
    monkeypatch.setenv("SHARDMQ_URL", "tcp://10.0.0.1:1")
    assert checked_url(None) == "tcp://10.0.0.1:1"
    assert checked_url("tcp://[::1]:5680") == "tcp://[::1]:5680"


@pytest.mark.parametrize("bad", ["localhost:5680", "tcp://host", "http://host:1", "tcp://:1", "x"])
def test_other_addresses_are_refused(bad: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="tcp://"):
        checked_url(bad)


def test_a_core_and_a_broker_meet_over_a_socket() -> None:
    with serve(FakeBroker()) as url:
        wire = Wire(url)
        core = ClientCore(SameRandomness(), client="test", version="0")
        poll = select.poll()
        for fd in (wire.fd, wire.news_fd):
            poll.register(fd, select.POLLIN)
        turn(core, wire, now())
        while core.state is not State.READY:
            assert poll.poll(10_000), "the broker answers HELLO"
            turn(core, wire, now())
        wire.close()


def test_the_last_answer_of_a_broker_that_closes_is_still_read() -> None:
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    wire = Wire(f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}")
    assert eventually(wire.news) == [True]
    assert wire.send([b"request"])
    peer, _ = router.recv_multipart()
    assert wire.receive() is None
    router.send_multipart([peer, b"answer"])
    context.destroy(linger=500)
    assert wire._monitor.poll(20_000), "the connection is gone"
    assert wire.receive() == [b"answer"]
    assert wire.news() == [False]
    assert not wire.send([b"too late"])
    wire.close()


def test_nothing_is_taken_for_a_peer_that_is_not_there() -> None:
    wire = Wire("tcp://127.0.0.1:9")
    assert not wire.send([b"frame"])
    assert wire.receive() is None
    wire.close()
