"""Settlement: one wish of a user about messages in hand, and what came of it. Pure.

Messages of one receipt that lie side by side are one piece. A settlement is over when the broker
has answered for each piece, so that ReceiptExpired tells the whole truth: what it does not name is
settled. Any other error leaves open what of the rest is; those that have expired are named by the
ReceiptExpired that is its cause.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any, Literal, NamedTuple

from ..errors import ReceiptExpired, ShardMQError, TimedOut
from ..received import ReceivedMessage, are_of, rows_of
from .handout import Handout, handouts_of

__all__ = ["ACK", "GIVE_BACK", "Act", "Piece", "Settlement"]

_SHOWN_MAX = 3
_HINT = (
    "the message is not this consumer's any more: its time was over, or the topic or the group was "
    "reset or deleted; receive again"
)


class Act(NamedTuple):
    """What became of messages."""

    act: Literal["ack", "nack", "invisible", "return"] = "ack"
    delay_ms: int | None = None
    dead: bool = False
    cause: str = ""
    detail: str = ""


ACK = Act()
GIVE_BACK = Act("return")


class Piece(NamedTuple):
    """Messages side by side, of one settlement."""

    handout: Handout
    start: int
    stop: int
    settlement: Settlement

    @property
    def order(self) -> tuple[int, int, int]:
        """Pieces that can be told as one stand side by side in this order."""
        return self.handout.queue, self.handout.receipt.number, self.start


class Settlement:
    """Of some messages.

    Args:
        messages: one, or any number.
        owner: the core of the consumer that received them.

    Raises:
        InvalidArgument: one was received by somebody else, or is no received message.
    """

    def __init__(self, messages: Any, act: Act, owner: object, until_ms: float) -> None:
        self.act = act
        self.until_ms = until_ms
        one = isinstance(messages, ReceivedMessage) or not isinstance(messages, Iterable)
        self._messages: list[ReceivedMessage] = [messages] if one else list(messages)
        self._rows = handouts_of(self._messages, owner)
        self.pieces = self._all_pieces()
        """What is to be told; then each piece is told to be done, too late, or failed."""
        self._open = len(self.pieces)
        self._error: ShardMQError | None = None
        self._expired: list[ReceivedMessage] = []
        self._reason = ""

    @property
    def settled(self) -> bool:
        return self._open == 0

    def fault(self) -> ShardMQError | None:
        """Why not all is settled, once it is over."""
        late = self._too_late() if self._expired else None
        if self._error is None or late is None:
            return self._error or late
        error = copy(self._error)  # others may hear of the same one
        error.message = f"{error.message}; besides, {late.message}"
        error.args = (error.message,)
        error.__cause__ = late
        return error

    def _too_late(self) -> ReceiptExpired:
        late = set(map(id, self._expired))
        messages = [message for message in self._messages if id(message) in late]
        names = [_name(message) for message in messages[:_SHOWN_MAX]]
        if len(messages) > _SHOWN_MAX:
            names.append(f"and {len(messages) - _SHOWN_MAX} more")
        text = f"too late for {', '.join(names)}"
        error = ReceiptExpired(f"{text}: {self._reason}" if self._reason else text, hint=_HINT)
        error.messages = messages
        return error

    # ----------------------------------------------------------------------- for the settler

    def _all_pieces(self) -> list[Piece]:
        found = []
        for handout, given in self._rows.items():
            rows = sorted(set(given))
            start, last = handout.offset_of(rows[0]), handout.offset_of(rows[-1])
            if last - start >= len(rows):  # else they lie side by side
                last = start
                for offset in map(handout.offset_of, rows[1:]):
                    if offset != last + 1:
                        found.append(Piece(handout, start, last + 1, self))
                        start = offset
                    last = offset
            found.append(Piece(handout, start, last + 1, self))
        return found

    def done(self, piece: Piece, wall_ms: int) -> None:
        """Settled, but for what `late` has named."""
        if self._open:
            self._open -= 1
        if self.act.act == "invisible":
            self._moved(piece, wall_ms)

    def late(self, handout: Handout, start: int, stop: int, reason: str) -> None:
        """The receipts of these offsets have expired. `done` follows."""
        self._reason = reason
        self._expired += are_of(self._messages, handout, self._between(handout, start, stop))

    def failed(self, error: ShardMQError) -> None:
        """One piece cannot be settled, or nobody knows."""
        if self._open:
            self._open -= 1
            self._error = self._error or error

    def give_up(self) -> None:
        """Nobody waits for it any more."""
        if self._open:
            self._open = 0
            text = "the broker did not answer in time: perhaps not all of it is settled"
            self._error = self._error or TimedOut(text)

    def _moved(self, piece: Piece, wall_ms: int) -> None:
        handout = piece.handout
        assert self.act.delay_ms is not None, "a message is invisible for a time"
        until_ms = wall_ms + handout.receipt.ahead_ms + self.act.delay_ms
        late = rows_of(self._expired).get(handout, ())
        for row in self._between(handout, piece.start, piece.stop).difference(late):
            handout.moved[row] = until_ms

    def _between(self, handout: Handout, start: int, stop: int) -> set[int]:
        """The rows of some offsets."""
        return {row for row in self._rows[handout] if start <= handout.offset_of(row) < stop}


def _name(message: ReceivedMessage) -> str:
    return f"offset {message.offset} in queue {message.queue_id} of {message.topic!r}"
