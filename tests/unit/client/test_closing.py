"""Closing: `with`, the warning of what was forgotten, the refusal of what is closed."""

from __future__ import annotations

import asyncio
import gc

import pytest

from shardmq.client.closing import AsyncClosable, Closable
from shardmq.client.errors import ClosedError


class Tool(Closable):
    _noun = "tool"

    def __init__(self) -> None:
        self._closed = False

    def close(self) -> None:
        self._closed = True


class AsyncTool(AsyncClosable):
    def __init__(self) -> None:
        self._closed = False

    def _detail(self) -> str:
        return " name='x'"

    async def close(self) -> None:
        self._closed = True


def test_with_closes_and_what_is_closed_refuses() -> None:
    with Tool() as tool:
        tool._check_open()
        assert repr(tool) == "<Tool>"
    assert repr(tool) == "<Tool closed>"
    with pytest.raises(ClosedError, match="tool"):
        tool._check_open()


def test_async_with_closes() -> None:
    async def used() -> AsyncTool:
        async with AsyncTool() as tool:
            assert repr(tool) == "<aio.AsyncTool name='x'>"
        return tool

    assert repr(asyncio.run(used())) == "<aio.AsyncTool name='x' closed>"


def test_what_was_never_closed_says_so_and_what_was_never_whole_does_not() -> None:
    with pytest.warns(ResourceWarning, match="unclosed <Tool>"):
        Tool()
    Tool.__new__(Tool)
    gc.collect()
