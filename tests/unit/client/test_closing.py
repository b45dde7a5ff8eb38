"""Closing: `with`, the warning of what was forgotten, the refusal of what is closed."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import warnings
from typing import Any

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


class Failing(Tool):
    def close(self) -> None:
        raise AssertionError("closing what another process made")

    def __exit__(self, kind: object = None, *_: object) -> None:
        self.close()


class AsyncFailing(AsyncTool):
    async def close(self) -> None:
        raise AssertionError("closing what another process made")


def end_as_the_child_did() -> None:
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))


def leave_with() -> None:
    with Failing():
        if os.fork() == 0:
            return
        end_as_the_child_did()


async def leave_async_with() -> None:
    async with AsyncFailing():
        if os.fork() == 0:
            return
        end_as_the_child_did()


@pytest.mark.parametrize("leave", [leave_with, lambda: asyncio.run(leave_async_with())])
def test_a_forked_child_leaves_the_block_of_its_parent_without_closing(leave: Any) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                leave()
                gc.collect()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_closing_looks_like_what_was_written() -> None:
    assert inspect.iscoroutinefunction(AsyncTool.close)
    assert not inspect.iscoroutinefunction(Tool.close)
    assert Tool.close.__qualname__ == "Tool.close"
