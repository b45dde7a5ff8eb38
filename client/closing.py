"""Closing: what all objects of the library that hold a connection have in common.

Owns the warning about one that was never closed, the refusal of one that is, and the two kinds of
`with`. Knows no connection: what closing does is the object's own.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Self

from .errors import ClosedError

__all__ = ["AsyncClosable", "Closable"]


class _Closable:
    _closed = True
    """Until it is whole, and once it is closed."""
    _noun = "consumer"

    def __del__(self) -> None:
        if not self._closed:
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
