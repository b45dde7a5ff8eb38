"""Credentials: with what a client proves who it is. No broker asks for them yet."""

from __future__ import annotations

from typing import Any

from .errors import NotSupported

__all__ = ["check_credentials"]


def check_credentials(credentials: Any) -> None:
    """Refuses what would be silently ignored.

    Raises:
        NotSupported: there are some.
    """
    if credentials is not None:
        raise NotSupported("credentials: access control comes with a later release")
