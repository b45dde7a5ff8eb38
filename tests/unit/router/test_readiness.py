"""Readiness: asked until enough links are up, and not longer than allowed."""

from __future__ import annotations

import threading
from pathlib import Path

import zmq

from shardmq.actors.protocol.frames import unpack_route
from shardmq.actors.protocol.messages import StatsReply
from shardmq.actors.protocol.replies import ok_reply
from shardmq.router.readiness import wait_for_links


def answering(address: str, figures: list[dict[str, int]]) -> threading.Thread:
    """An actor that answers STATS with each of `figures` in turn."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    mailbox = context.socket(zmq.ROUTER)
    mailbox.bind(address)

    def serve() -> None:
        with context, mailbox:
            for one in figures:
                peer, envelope, route, _ = mailbox.recv_multipart()
                reply = ok_reply(unpack_route(route), StatsReply(actor="x", figures=one))
                mailbox.send_multipart([peer, envelope, *reply])

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_it_asks_until_all_links_are_up(tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/a.sock"
    thread = answering(address, [{}, {"links_up": 1}, {"links_up": 2}])
    assert wait_for_links({address: 2}, 10.0)
    thread.join()


def test_it_gives_up_on_an_actor_that_does_not_answer(tmp_path: Path) -> None:
    assert not wait_for_links({f"ipc://{tmp_path}/nobody.sock": 1}, 0.05)
