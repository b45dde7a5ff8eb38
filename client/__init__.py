"""The client library: producers, consumers and administration. This module only names them.

Names are imported when first used, so that `import shardmq.client` costs a few milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import aio, errors
    from .admin import Admin
    from .consumer import PullConsumer
    from .group.outcomes import Discard, Retry
    from .groups import GroupDescription
    from .letters import DeadLetter
    from .message import Message
    from .produce.receipts import SendFuture, SendReceipt
    from .producer import Producer
    from .push import PushConsumer
    from .received import ReceivedMessage
    from .simple import SimpleConsumer
    from .topics import QueueDescription, TopicDescription

__all__ = [
    "Admin",
    "DeadLetter",
    "Discard",
    "GroupDescription",
    "Message",
    "Producer",
    "PullConsumer",
    "PushConsumer",
    "QueueDescription",
    "ReceivedMessage",
    "Retry",
    "SendFuture",
    "SendReceipt",
    "SimpleConsumer",
    "TopicDescription",
    "aio",
    "errors",
]

_HOME = {
    "Admin": "admin",
    "DeadLetter": "letters",
    "Discard": "group.outcomes",
    "GroupDescription": "groups",
    "Message": "message",
    "Producer": "producer",
    "PullConsumer": "consumer",
    "PushConsumer": "push",
    "QueueDescription": "topics",
    "ReceivedMessage": "received",
    "Retry": "group.outcomes",
    "SendFuture": "produce.receipts",
    "SendReceipt": "produce.receipts",
    "SimpleConsumer": "simple",
    "TopicDescription": "topics",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("aio", "errors"):
        return import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
