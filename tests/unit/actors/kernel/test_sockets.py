"""What the sockets are opened with, asked of the sockets themselves."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from shardmq.actors.kernel.listening import listen
from shardmq.actors.kernel.sockets import Front, open_front, open_link, open_mailbox
from shardmq.actors.protocol.limits import FRAME_BYTES_MAX
from support.actors import address, run_directory


class Sockets:
    """Opens sockets and closes them after the test."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.opened: list[zmq.Socket[bytes]] = []

    def keep(self, *opened: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
        self.opened.extend(opened)
        return opened[0]

    def mailbox(self, mailbox: str) -> zmq.Socket[bytes]:
        return self.keep(open_mailbox(self.context, mailbox))

    def link(self, mailbox: str) -> zmq.Socket[bytes]:
        return self.keep(*open_link(self.context, mailbox))

    def front(self) -> tuple[zmq.Socket[bytes], str]:
        listeners = listen("tcp://127.0.0.1:0")
        # As in a child: libzmq owns the descriptor.
        front = Front(listeners.address, listeners.sockets[0].detach())
        return self.keep(*open_front(self.context, front)), listeners.address

    def close(self) -> None:
        for opened in self.opened:
            opened.close(0)
        self.context.term()


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    made = Sockets()
    yield made
    made.close()


@pytest.fixture
def directory() -> Iterator[Path]:
    with run_directory() as path:
        yield path


def test_every_socket_bounds_its_frames_and_keeps_nothing_when_closed(
    sockets: Sockets, directory: Path
) -> None:
    mailbox = sockets.mailbox(address(directory, "a"))
    link = sockets.link(address(directory, "a"))
    front, _ = sockets.front()
    for opened in (mailbox, link, front):
        assert opened.getsockopt(zmq.MAXMSGSIZE) == FRAME_BYTES_MAX
        assert opened.getsockopt(zmq.LINGER) == 0
    assert link.getsockopt(zmq.IMMEDIATE) == 0, "it loses last answers"
    assert front.getsockopt(zmq.SNDHWM) == 64
    assert front.getsockopt(zmq.HANDSHAKE_IVL) == 3_000
    assert front.getsockopt(zmq.TCP_KEEPALIVE) == 1


def test_a_router_says_when_its_peer_is_unknown(sockets: Sockets, directory: Path) -> None:
    mailbox = sockets.mailbox(address(directory, "a"))
    with pytest.raises(zmq.ZMQError) as caught:
        mailbox.send_multipart([b"nobody", b"x"], zmq.NOBLOCK)
    assert caught.value.errno == zmq.EHOSTUNREACH


def test_the_front_serves_on_the_descriptor_that_it_was_given(
    sockets: Sockets,
) -> None:
    front, url = sockets.front()
    client = sockets.keep(sockets.context.socket(zmq.DEALER))
    client.connect(url)
    client.send(b"hello")
    assert front.poll(10_000)
    peer, text = front.recv_multipart()
    assert text == b"hello"
    assert len(peer) == 5


def test_the_fronts_monitor_tells_who_comes_and_goes_and_never_holds_it_up(
    sockets: Sockets,
) -> None:
    front, url = sockets.front()
    monitor = sockets.opened[1]
    assert monitor.getsockopt(zmq.RCVHWM) == 0, "the I/O thread would wait for room"
    client = sockets.keep(sockets.context.socket(zmq.DEALER))
    client.connect(url)
    client.send(b"hello")
    front.recv()
    fd = front.recv(copy=False).get(zmq.SRCFD)
    client.close(0)
    events = [struct.unpack("=hi", monitor.recv_multipart()[0]) for _ in range(2)]
    assert events == [(zmq.EVENT_ACCEPTED, fd), (zmq.EVENT_DISCONNECTED, fd)]


def test_a_socket_file_left_by_a_killed_process_is_replaced(
    sockets: Sockets, directory: Path
) -> None:
    (directory / "a.sock").write_text("stale")
    mailbox = sockets.mailbox(address(directory, "a"))
    link = sockets.link(address(directory, "a"))
    assert link.poll(10_000, zmq.POLLOUT)
    link.send(b"x")
    assert mailbox.poll(10_000)


def test_a_path_that_is_too_long_is_refused_with_what_to_do(
    sockets: Sockets,
) -> None:
    with pytest.raises(ValueError, match="13 bytes over 107; set TMPDIR"):
        sockets.mailbox("ipc://" + "x" * 120)
