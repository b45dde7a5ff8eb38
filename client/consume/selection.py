"""Selection: which messages of a queue a member of a group is given. Pure.

The shard leaves out whole batches; what it sends may still hold messages that the subscription does
not select, and some that are done already, above the floor of the group's cursor.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from shardmq.actors.protocol.group_messages import Range
from shardmq.actors.protocol.tags import TagFilter

from ..received import Delivery, ReceivedMessage, place_of

__all__ = ["Selection"]


class Selection:
    """Of one queue."""

    __slots__ = ("_ends", "_starts", "_tags")

    def __init__(self, tags: TagFilter, done: Sequence[Range] = ()) -> None:
        self._tags = tags
        self._starts = [first for first, _ in done]
        self._ends = [end for _, end in done]

    def of(self, delivery: Delivery, messages: list[ReceivedMessage]) -> list[ReceivedMessage]:
        """Those of a batch's messages that are to be delivered.

        Raises:
            BatchError: the batch is malformed.
        """
        if self._tags.tags is not None:
            messages = self._tagged(delivery, messages)
        if self._ends and messages and place_of(messages[0]) < self._ends[-1]:
            messages = [message for message in messages if not self._is_done(place_of(message))]
        return messages

    def again(self) -> None:
        """What was done before is delivered again: the user has sought back."""
        self._starts, self._ends = [], []

    def _tagged(self, delivery: Delivery, messages: list[ReceivedMessage]) -> list[ReceivedMessage]:
        tags = delivery.tags
        selects = self._tags.selects
        if tags is None:
            return messages if selects(None) else []
        wanted = {tag for tag in set(tags) if selects(tag)}
        if all(tag in wanted for tag in delivery.view.tag_names() or ()):
            return messages
        return [message for message in messages if message.tag in wanted]

    def _is_done(self, offset: int) -> bool:
        index = bisect_right(self._starts, offset) - 1
        return index >= 0 and offset < self._ends[index]
