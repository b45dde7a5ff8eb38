"""What can go wrong, as one tree. Owns the exception classes and the one table from wire codes to
them. Knows no sockets and no requests.

    ShardMQError                     everything that this library raises on purpose
    ├── UsageError                   local misuse: nothing left this process
    │   ├── InvalidArgument          (also a ValueError)
    │   │   └── MessageTooLarge      says which limit, and by how much
    │   ├── NotSupported             a feature that this version does not have
    │   ├── ClosedError              the object is closed
    │   └── ForkedError              the object belongs to the parent process
    ├── SendError                    a send that was not acknowledged
    │   ├── SendFailed               certainly not stored: sending again cannot double it
    │   │   └── BufferFull           no room in the producer's buffer within the timeout
    │   └── SendUnknown              it may be stored: nobody answered in time
    └── RemoteError                  the broker (or nobody) answered with a code
        ├── TopicNotFound, TopicExists, InvalidName, Forbidden, Unauthorized, Rejected
        ├── Busy, DiskFull, ReadOnly, Unavailable, TimedOut
        ├── GroupNotFound, GroupInUse, SubscriptionConflict
        ├── Fenced                   a queue was given to another member of the group
        ├── ReceiptExpired           too late; has messages, others may have them by now
        ├── OffsetOutOfRange         has topic, queue_id, offset, earliest, latest
        └── DamagedRecord            has topic, queue_id, offset, next_offset

A refused send is both: the class of its code and `SendFailed` (`except errors.TopicNotFound` and
`except errors.SendFailed` both catch it), or `SendUnknown` where the batch may be stored. Every
error carries `code` (a `Code`), `hint` (what to do) and `retryable`.
"""

from __future__ import annotations

from typing import Any

from shardmq.actors.protocol.codes import Code, row_of

__all__ = [
    "ShardMQError",
    "UsageError", "InvalidArgument", "MessageTooLarge", "NotSupported", "ClosedError",
    "ForkedError",
    "SendError", "SendFailed", "BufferFull", "SendUnknown",
    "RemoteError", "TopicNotFound", "TopicExists", "InvalidName", "Forbidden", "Unauthorized",
    "Rejected", "Busy", "DiskFull", "ReadOnly", "Unavailable", "TimedOut", "OffsetOutOfRange",
    "DamagedRecord", "GroupNotFound", "GroupInUse", "SubscriptionConflict", "Fenced",
    "ReceiptExpired",
    "remote_error", "send_error",
]  # fmt: skip


class ShardMQError(Exception):
    """Base of all errors of this library."""

    code: Code = Code.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        hint: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        row = row_of(self.code if code is None else code)
        self.code = row.code
        self.message = message
        self.hint = row.hint if hint is None else hint
        """What the caller can do about it."""
        self.retryable = row.retryable if retryable is None else retryable
        """The same call may succeed later."""

    def __reduce__(self) -> Any:
        # Classes made by `send_error` have no importable name: a copy is built from the pieces.
        return _restored, (_bases_of(type(self)), self.args, self.__dict__)


class UsageError(ShardMQError):
    """The caller's mistake, found before anything left this process."""

    code = Code.INVALID_ARGUMENT


class InvalidArgument(UsageError, ValueError):
    """An argument that no broker would take."""


class MessageTooLarge(InvalidArgument):
    """Over a limit; the message says which one, and by how much."""

    code = Code.TOO_LARGE


class NotSupported(UsageError):
    """A feature that this version does not have."""

    code = Code.NOT_SUPPORTED


class ClosedError(UsageError):
    """The object is closed."""

    def __init__(self, what: str) -> None:
        super().__init__(f"this {what} is closed", hint="make a new one", retryable=False)


class ForkedError(UsageError):
    """The object was made before a fork; sockets and threads do not survive one."""

    def __init__(self, what: str = "connection") -> None:
        hint = "make a new one in the child process"
        super().__init__(f"this {what} belongs to the parent process", hint=hint, retryable=False)


class SendError(ShardMQError):
    """A message that was not acknowledged."""

    outcomes: Any = ()
    """Of `send_batch`: for each message its SendReceipt or its error."""
    letters: Any = ()
    """Of `resend_dead_letters`: the dead letters that `outcomes` speaks of, one by one."""
    left: Any = ()
    """Those of them that were certainly not sent: what to give to the next attempt."""


class SendFailed(SendError):
    """Certainly not stored: sending it again cannot double it."""


class BufferFull(SendFailed):
    """The producer's buffer had no room within the timeout."""

    code = Code.BUSY


class SendUnknown(SendError):
    """Nobody answered in time: the message may be stored, and sending it again may double it."""

    code = Code.TIMED_OUT


class RemoteError(ShardMQError):
    """The broker refused, or did not answer."""


class TopicNotFound(RemoteError):
    code = Code.TOPIC_NOT_FOUND


class TopicExists(RemoteError):
    code = Code.TOPIC_EXISTS


class InvalidName(RemoteError):
    code = Code.INVALID_NAME


class Forbidden(RemoteError):
    code = Code.FORBIDDEN


class Unauthorized(RemoteError):
    code = Code.UNAUTHORIZED


class Rejected(RemoteError):
    """Any other code of class 4xx."""

    code = Code.BAD_REQUEST


class Busy(RemoteError):
    code = Code.BUSY


class DiskFull(RemoteError):
    code = Code.DISK_FULL


class ReadOnly(RemoteError):
    code = Code.READ_ONLY


class Unavailable(RemoteError):
    """The broker, or the process behind it, is not there at the moment."""

    code = Code.UNAVAILABLE


class TimedOut(RemoteError):
    code = Code.TIMED_OUT


class GroupNotFound(RemoteError):
    code = Code.GROUP_NOT_FOUND


class GroupInUse(RemoteError):
    """The group has members; the message names them."""

    code = Code.GROUP_IN_USE


class SubscriptionConflict(RemoteError):
    """Another member of the group, which the message names, subscribed to something else."""

    code = Code.SUBSCRIPTION_CONFLICT


class Fenced(RemoteError):
    """The queue belongs to another member now: what was done there is delivered again."""

    code = Code.FENCED


class ReceiptExpired(RemoteError):
    """Too late: the messages are not this consumer's any more. They have become visible to others,
    or were given to them, or the topic or the group was reset or deleted. The rest of what the call
    named is settled: where something else failed, too, that is raised, and this is its cause."""

    code = Code.RECEIPT_EXPIRED
    messages: Any = ()
    """Those that came too late, a list of ReceivedMessage."""


class OffsetOutOfRange(RemoteError):
    """An offset that the queue no longer has, or does not have yet."""

    code = Code.OFFSET_OUT_OF_RANGE
    topic = ""
    queue_id = offset = earliest = latest = -1


class DamagedRecord(RemoteError):
    """A stored record failed its checksum and is not served; reading goes on behind it."""

    code = Code.DAMAGED
    topic = ""
    queue_id = offset = next_offset = -1


CLASS_OF: dict[Code, type[RemoteError]] = {
    Code.TOPIC_NOT_FOUND: TopicNotFound,
    Code.TOPIC_EXISTS: TopicExists,
    Code.INVALID_NAME: InvalidName,
    Code.FORBIDDEN: Forbidden,
    Code.UNAUTHORIZED: Unauthorized,
    Code.BUSY: Busy,
    Code.DISK_FULL: DiskFull,
    Code.READ_ONLY: ReadOnly,
    Code.UNAVAILABLE: Unavailable,
    Code.SHUTTING_DOWN: Unavailable,
    Code.TIMED_OUT: TimedOut,
    Code.OFFSET_OUT_OF_RANGE: OffsetOutOfRange,
    Code.DAMAGED: DamagedRecord,
    Code.GROUP_NOT_FOUND: GroupNotFound,
    Code.GROUP_IN_USE: GroupInUse,
    Code.SUBSCRIPTION_CONFLICT: SubscriptionConflict,
    Code.FENCED: Fenced,
    Code.RECEIPT_EXPIRED: ReceiptExpired,
}
"""The one table. A code without a row is `Rejected` (4xx) or `RemoteError` (5xx)."""


def remote_error(code: int, message: str, hint: str = "") -> RemoteError:
    """The exception for a reply's code."""
    return _class_of(code)(message, code=code, hint=hint or None)


def send_error(code: int, message: str, hint: str = "", *, unknown: bool) -> SendError:
    """The exception for a send: SendUnknown, or SendFailed joined with the class of the code."""
    if unknown:
        text = f"{message} (it may be stored)"
        return SendUnknown(text, code=code, hint=hint or None)
    error: SendError = _joined(_class_of(code), SendFailed)(message, code=code, hint=hint or None)
    return error


def _class_of(code: int) -> type[RemoteError]:
    fallback = Rejected if 400 <= code < 500 else RemoteError
    return CLASS_OF.get(row_of(code).code, fallback)


_made: dict[tuple[Any, ...], Any] = {}


def _joined(first: Any, second: Any) -> Any:
    made = _made.get((first, second))
    if made is None:
        made = _made[first, second] = _make(first, second)
    return made


def _make(first: Any, second: Any) -> Any:
    body = {"__module__": first.__module__, "__doc__": first.__doc__}
    return type(first.__name__, (first, second), body)


def _bases_of(kind: type[ShardMQError]) -> tuple[type[ShardMQError], ...]:
    return kind.__bases__ if kind.__bases__[1:] == (SendFailed,) else (kind,)


def _restored(
    bases: tuple[type[ShardMQError], ...], args: tuple[Any, ...], state: dict[str, Any]
) -> ShardMQError:
    kind = bases[0] if len(bases) == 1 else _joined(*bases)
    error: ShardMQError = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error
