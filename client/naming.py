"""Names that tell people where a member of a group runs: host, process, and something unique."""

from __future__ import annotations

import os
import re
import socket

from shardmq.actors.kernel.randomness import SystemRandomness

__all__ = ["unique_name"]

HOST_CHARS_MAX = 60
_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9_-]+")


def unique_name() -> str:
    """A name that no other member has."""
    host = _NOT_ALLOWED.sub("-", socket.gethostname())[:HOST_CHARS_MAX]
    return f"{host}-{os.getpid()}-{SystemRandomness().u64() & 0xFFFFFFFF:08x}"
