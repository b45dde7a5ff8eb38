"""Result codes: one row each, stable for ever.

The number's class is HTTP's: 2xx done, 4xx the caller's to mend, 5xx ours. `retryable` says that
the same request may succeed later; `stored` says what a failed PRODUCE means for its batch:
"no" is certain, "unknown" is not. `docs/protocol.md` prints this table.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, NamedTuple

__all__ = ["CODE_ROWS", "Code", "CodeRow", "row_of"]


class Code(IntEnum):
    """What a reply says; the wire carries the number, people read the name."""

    OK = 200
    BAD_REQUEST = 400
    UNAUTHORIZED = 401
    FORBIDDEN = 403
    TOPIC_NOT_FOUND = 404
    UNKNOWN_VERB = 405
    TOPIC_EXISTS = 409
    FENCED = 410
    STALE_ROUTE = 411
    MOVED = 412
    TOO_LARGE = 413
    STALE_SEQUENCE = 414
    GROUP_NOT_FOUND = 415
    OFFSET_OUT_OF_RANGE = 416
    RECEIPT_EXPIRED = 417
    INVALID_NAME = 422
    INVALID_ARGUMENT = 423
    SUBSCRIPTION_CONFLICT = 424
    GROUP_IN_USE = 425
    UNSUPPORTED_VERSION = 426
    CORRUPT_BATCH = 428
    UNKNOWN_SESSION = 440
    UNKNOWN_MEMBER = 441
    INTERNAL = 500
    NOT_SUPPORTED = 501
    BUSY = 503
    TIMED_OUT = 504
    UNAVAILABLE = 505
    SHUTTING_DOWN = 506
    DISK_FULL = 507
    DAMAGED = 508
    READ_ONLY = 509


class CodeRow(NamedTuple):
    """What a client must know of a code."""

    code: Code
    retryable: bool
    stored: Literal["yes", "no", "unknown"]
    hint: str


CODE_ROWS: tuple[CodeRow, ...] = (
    CodeRow(Code.OK, False, "yes", "done"),
    CodeRow(Code.BAD_REQUEST, False, "no", "mend the request; the message says what is malformed"),
    CodeRow(Code.UNAUTHORIZED, False, "no", "send HELLO with valid credentials"),
    CodeRow(Code.FORBIDDEN, False, "no", "ask an operator for the permission that is named"),
    CodeRow(Code.TOPIC_NOT_FOUND, False, "no", "create the topic: shardmq topic create NAME"),
    CodeRow(Code.UNKNOWN_VERB, False, "no", "this broker does not know the verb; upgrade it"),
    CodeRow(Code.TOPIC_EXISTS, False, "no", "use it as it is, or `topic update` to change it"),
    CodeRow(Code.FENCED, False, "no", "another member owns the queue now; stop using the grant"),
    CodeRow(Code.STALE_ROUTE, True, "no", "fetch the topic's route again (ROUTE), then resend"),
    CodeRow(Code.MOVED, True, "no", "send to the shard that the reply names"),
    CodeRow(Code.TOO_LARGE, False, "no", "keep below the limit that the message names"),
    CodeRow(Code.STALE_SEQUENCE, False, "no", "a later batch of this producer is stored already"),
    CodeRow(Code.GROUP_NOT_FOUND, False, "no", "a group comes to be with its first member"),
    CodeRow(Code.OFFSET_OUT_OF_RANGE, False, "no", "seek between `earliest` and `latest`"),
    CodeRow(
        Code.RECEIPT_EXPIRED,
        False,
        "no",
        "the message is not the receiver's any more; receive again",
    ),
    CodeRow(Code.INVALID_NAME, False, "no", "use a name that the rules allow"),
    CodeRow(Code.INVALID_ARGUMENT, False, "no", "mend the argument that the message names"),
    CodeRow(Code.SUBSCRIPTION_CONFLICT, False, "no", "subscribe alike, or use another group"),
    CodeRow(Code.GROUP_IN_USE, False, "no", "stop the members that the message names first"),
    CodeRow(Code.UNSUPPORTED_VERSION, False, "no", "use a version that the message names"),
    CodeRow(Code.CORRUPT_BATCH, True, "no", "the checksum does not fit; send the batch again"),
    CodeRow(Code.UNKNOWN_SESSION, True, "no", "say HELLO again, then resend"),
    CodeRow(Code.UNKNOWN_MEMBER, False, "no", "the lease ran out; join the group again"),
    CodeRow(Code.INTERNAL, True, "unknown", "a fault of the broker; its log has the details"),
    CodeRow(Code.NOT_SUPPORTED, False, "no", "this broker does not have the feature"),
    CodeRow(Code.BUSY, True, "no", "wait `retry_after_ms`, then resend"),
    CodeRow(Code.TIMED_OUT, True, "unknown", "the deadline passed; ask again if it still matters"),
    CodeRow(Code.UNAVAILABLE, True, "unknown", "the process behind it restarts; resend"),
    CodeRow(Code.SHUTTING_DOWN, True, "unknown", "the broker stops; resend when it is back"),
    CodeRow(Code.DISK_FULL, True, "no", "free disk space; the broker resumes by itself"),
    CodeRow(Code.DAMAGED, False, "no", "the record's checksum fails; seek to `next_offset`"),
    CodeRow(Code.READ_ONLY, True, "no", "a shard found damage; see `shardmq.shards.dump`"),
)

_ROWS = {row.code: row for row in CODE_ROWS}


def row_of(code: int) -> CodeRow:
    """The row of `code`. An unknown number (a newer broker) is read by its class."""
    row = _ROWS.get(code)  # type: ignore[call-overload]
    if row is not None:
        return row  # type: ignore[no-any-return]
    fallback = Code.BAD_REQUEST if 400 <= code < 500 else Code.INTERNAL
    return _ROWS[fallback]
