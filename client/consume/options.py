"""What a user may choose for a consumer, checked. Pure."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

from ..credentials import check_credentials
from ..errors import InvalidArgument

__all__ = ["BUFFER_BYTES", "FETCH_BYTES", "FetcherOptions", "OnOutOfRange", "checked_consumer"]

FETCH_BYTES = 1024 * 1024
BUFFER_BYTES = 8 * 1024 * 1024
OnOutOfRange = Literal["error", "earliest", "latest"]


class FetcherOptions(NamedTuple):
    fetch_bytes: int
    """Credit of one FETCH."""
    buffer_bytes: int
    """No further FETCH leaves while so much is held."""
    on_out_of_range: str
    """error, earliest or latest."""
    buffer_messages: int = 1 << 62
    """Nor while so many messages are held."""


def checked_consumer(
    on_out_of_range: OnOutOfRange,
    fetch_bytes: int,
    buffer_bytes: int,
    credentials: Any,
) -> FetcherOptions:
    """The options of a consumer.

    Raises:
        InvalidArgument: one is out of its range; the message says which.
        NotSupported: credentials.
    """
    check_credentials(credentials)
    if on_out_of_range not in get_args(OnOutOfRange):
        allowed = ", ".join(get_args(OnOutOfRange))
        raise InvalidArgument(f"on_out_of_range is one of {allowed}, not {on_out_of_range!r}")
    for name, value in (("fetch_bytes", fetch_bytes), ("buffer_bytes", buffer_bytes)):
        if type(value) is not int or value < 1:
            raise InvalidArgument(f"{name} is a positive number, not {value!r}")
    return FetcherOptions(fetch_bytes, buffer_bytes, on_out_of_range)
