"""Mode: whether a pull consumer reads queues that its user names, or those that its group gives it.

Pure: what is allowed in which mode, and what was subscribed to until the member starts.
"""

from __future__ import annotations

from typing import Any

from shardmq.actors.protocol.tags import TagFilter

from ..errors import InvalidArgument
from .options import GroupOptions, checked_expression

__all__ = ["Mode"]


class Mode:
    """Of one pull consumer."""

    def __init__(self, options: GroupOptions | None, start: str = "poll") -> None:
        self.options = options
        self._start = start
        """The call that starts the member, as its user knows it."""
        self.subscriptions: dict[str, TagFilter] = {}

    def assigns(self) -> None:
        """Raises InvalidArgument if queues cannot be assigned by hand."""
        if self.options is not None:
            raise InvalidArgument(
                f"a member of group {self.options.group!r} is given its queues",
                hint="use subscribe(), or leave `group` out and use assign()",
            )

    def subscribes(self, topic: str, expression: Any, *, started: bool) -> None:
        """Takes a subscription.

        Raises:
            InvalidArgument: no group, started already, or no tag expression.
        """
        if self.options is None:
            raise InvalidArgument(
                "subscribe() needs a group",
                hint="give a `group`, or use assign() to read without one",
            )
        if started:
            raise InvalidArgument(
                "this consumer has started: a member's subscriptions stay as they are",
                hint=f"subscribe to all topics before the first {self._start}",
            )
        name, tags = checked_expression(topic, expression)
        self.subscriptions[name] = tags

    def starts(self) -> GroupOptions:
        """The member's options.

        Raises:
            InvalidArgument: no group, or nothing was subscribed to.
        """
        if self.options is None:
            raise InvalidArgument(
                "this consumer has no group", hint="give a `group` and subscribe()"
            )
        if not self.subscriptions:
            raise InvalidArgument("nothing was subscribed to", hint="use subscribe() first")
        return self.options
