"""Closing: what all objects of the library that hold a connection have in common.

Owns the warning about one that was never closed, the refusal of one that is, and the two kinds of
`with`. Knows no connection: what closing does is the object's own.

A forked child inherits the object but not what stands behind it: closing it there is the parent's
business and does nothing, so that the child may leave the parent's `with` blocks. Every other use
is refused by the connection.
"""

from __future__ import annotations

import inspect
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import wraps
from typing import Any, Self

from .errors import ClosedError

__all__ = ["AsyncClosable", "Closable"]


class _Closable:
    _closed = True
    """Until it is whole, and once it is closed."""
    _noun = "consumer"
    _process_id: int
    """Of the process that made it."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        self = super().__new__(cls)
        self._process_id = os.getpid()
        return self

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("close", "__exit__", "__aexit__"):
            own = vars(cls).get(name)
            if own is not None and not getattr(own, "__isabstractmethod__", False):
                setattr(cls, name, _where_it_was_made(own))

    def __del__(self) -> None:
        if not self._closed and self._process_id == os.getpid():
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        kind = type(self)
        aio = "aio." if issubclass(kind, AsyncClosable) else ""
        return f"<{aio}{kind.__name__}{self._detail()}{' closed' if self._closed else ''}>"

    def _detail(self) -> str:
        """What tells it from others of its kind."""
        return ""

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(self._noun)


def _where_it_was_made(close: Callable[..., Any]) -> Callable[..., Any]:
    """`close`, which does nothing in a process that is not the one that made the object."""
    if inspect.iscoroutinefunction(close):

        @wraps(close)
        async def close_later(self: _Closable, *given: Any) -> None:
            if self._process_id == os.getpid():
                await close(self, *given)

        return close_later

    @wraps(close)
    def close_now(self: _Closable, *given: Any) -> None:
        if self._process_id == os.getpid():
            close(self, *given)

    return close_now


class Closable(_Closable, ABC):
    """Used with `with`."""

    @abstractmethod
    def close(self) -> None:
        """Gives everything back. May be called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object = None, *_: object) -> None:
        self.close()


class AsyncClosable(_Closable, ABC):
    """Used with `async with`."""

    @abstractmethod
    async def close(self) -> None:
        """Gives everything back. May be called again."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object = None, *_: object) -> None:
        await self.close()
