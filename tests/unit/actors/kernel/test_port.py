"""A port: letters leave it only while somebody is there, and its core knows whether they do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from shardmq.actors.kernel.mailbox import Inbox
from shardmq.actors.kernel.port import Port


@pytest.fixture
def port() -> Iterator[Port]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect("inproc://nobody")
        yield Port("shard-0", socket, Inbox(socket, "shard-0", "link"))


def test_a_link_that_is_not_connected_takes_nothing(port: Port) -> None:
    port.turns(connected=True)
    port.send(b"taken: the pipe is there", int(zmq.NOBLOCK))
    port.turns(connected=False)
    with pytest.raises(zmq.Again):
        port.send(b"refused", int(zmq.NOBLOCK))


def test_a_link_is_up_while_it_is_connected_and_takes_letters(port: Port) -> None:
    assert not port.up
    port.turns(connected=True)
    assert port.up
    port.choked = True
    assert not port.up
    port.turns(connected=True)
    assert port.up, "a new connection has room"
