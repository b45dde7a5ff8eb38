"""A turn: everything that is ready, and what the socket does not take stays in order."""

from __future__ import annotations

from shardmq.actors.kernel.ports import Now
from shardmq.client.link.core import ClientCore, State
from shardmq.client.link.turning import turn
from support.clients import SameRandomness
from support.fake_broker import FakeBroker


class FakeSocket:
    """Takes `room` messages, answers through a fake broker."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.ups = [True]
        self.replies: list[list[bytes]] = []
        self.broker = FakeBroker()

    def news(self) -> list[bool]:
        ups, self.ups = self.ups, []
        return ups

    def receive(self) -> list[bytes] | None:
        return self.replies.pop(0) if self.replies else None

    def send(self, frames: list[bytes]) -> bool:
        if not self.room:
            return False
        self.room -= 1
        self.replies += self.broker.handle(frames)
        return True


def core() -> ClientCore:
    return ClientCore(SameRandomness(), client="test", version="0")


def test_a_turn_goes_on_until_nothing_is_left() -> None:
    client, socket = core(), FakeSocket(room=9)
    turn(client, socket, Now(0, 0))
    assert client.state is State.READY


def test_what_the_socket_does_not_take_is_sent_by_a_later_turn() -> None:
    client, socket = core(), FakeSocket(room=0)
    turn(client, socket, Now(0, 0))
    assert len(client.outbox) == 1
    socket.room = 1
    turn(client, socket, Now(1, 0))
    assert client.state is State.READY


def test_a_lost_transport_is_told_to_the_core() -> None:
    client, socket = core(), FakeSocket(room=9)
    turn(client, socket, Now(0, 0))
    socket.ups = [False]
    turn(client, socket, Now(1, 0))
    assert client.state is State.DOWN


def test_a_turn_may_end_when_its_caller_has_enough_and_nobody_will_answer() -> None:
    client, socket = core(), FakeSocket(room=9)
    turn(client, socket, Now(0, 0))
    asked: list[bool] = []
    socket.receive = lambda: asked.append(True)  # type: ignore[method-assign]
    turn(client, socket, Now(1, 0), news=False, enough=lambda: True)
    assert asked == [True], "only an answer ends it"
