"""The client under asyncio: the same classes with `async with`, `async for` and awaitable methods.

The cores are those of the threaded client; only the waiting differs (`loop.add_reader` on the
socket's descriptor). Objects belong to the event loop that was running when they were made.
"""

from __future__ import annotations

from .admin import Admin
from .consumer import PullConsumer
from .producer import PendingSend, Producer
from .push import PushConsumer
from .simple import SimpleConsumer

__all__ = ["Admin", "PendingSend", "Producer", "PullConsumer", "PushConsumer", "SimpleConsumer"]
