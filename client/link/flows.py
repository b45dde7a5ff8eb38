"""Runs a flow (`asking.py`) over a threaded connection: each step blocks until it is answered."""

from __future__ import annotations

from typing import Any, TypeVar

from ..errors import ShardMQError
from .asking import Asked, Flow
from .thread import Connection
from .wire import now

__all__ = ["run_flow"]

T = TypeVar("T")


def run_flow(connection: Connection, flow: Flow[T], timeout_ms: float) -> T:
    """The flow's result; each step has `timeout_ms`. Errors are raised where the flow waits."""
    try:
        requests = next(flow)
        while True:
            with connection.lock:
                asked = Asked(connection.core, requests, timeout_ms, now(), url=connection.url)
            connection.wait(lambda asked=asked: asked.settled)  # type: ignore[misc]
            replies: list[Any] = []
            try:
                replies = asked.replies()
            except ShardMQError as error:
                requests = flow.throw(error)
                continue
            requests = flow.send(replies)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
