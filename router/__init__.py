"""The front door and the whole broker: routers, the embeddable `Broker`, the command line.

    from shardmq.router import Broker

The name is loaded when it is first used, so that a router process, which imports this package too,
does not carry the supervisor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .broker import Broker, BrokerError

__all__ = ["Broker", "BrokerError"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import broker

        return getattr(broker, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
