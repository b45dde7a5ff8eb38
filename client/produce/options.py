"""What a user may choose for a producer, checked and turned into the core's units. Pure."""

from __future__ import annotations

from typing import Any, get_args

from shardmq.actors.protocol.compress import CodecError, Compression, compress
from shardmq.actors.protocol.messages import AckMode
from shardmq.actors.protocol.names import why_invalid_group

from ..credentials import check_credentials
from ..errors import InvalidArgument, NotSupported
from ..times import Duration, ms_of
from .core import ProducerOptions

__all__ = ["BUFFER_BYTES", "checked_options"]

BUFFER_BYTES = 32 * 1024 * 1024
_CODECS = {None: Compression.NONE, "zstd": Compression.ZSTD, "lz4": Compression.LZ4}


def checked_options(
    *,
    group: str,
    ack: AckMode,
    timeout: Duration,
    linger: Duration,
    credentials: Any,
    compression: str | None,
    buffer_bytes: int,
) -> ProducerOptions:
    """The options of a producer.

    Raises:
        InvalidArgument: one is out of its range; the message says which.
        NotSupported: credentials, or a codec that is not installed.
    """
    reason = why_invalid_group(group)
    if reason is not None:
        raise InvalidArgument(reason)
    if ack not in get_args(AckMode):
        raise InvalidArgument(f"ack is one of {', '.join(get_args(AckMode))}, not {ack!r}")
    check_credentials(credentials)
    if compression not in _CODECS:
        raise InvalidArgument(f"compression is None, 'zstd' or 'lz4', not {compression!r}")
    if type(buffer_bytes) is not int or buffer_bytes < 1:
        raise InvalidArgument(f"buffer_bytes is a positive number, not {buffer_bytes!r}")
    codec = _CODECS[compression]
    try:
        compress(codec, b"probe")
    except CodecError as error:
        raise NotSupported(str(error)) from None
    timeout_ms = ms_of(timeout, "timeout")
    if not timeout_ms:
        raise InvalidArgument("timeout is more than 0 seconds")
    return ProducerOptions(ack, timeout_ms, ms_of(linger, "linger"), codec, buffer_bytes)
