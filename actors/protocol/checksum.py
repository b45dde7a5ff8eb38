"""CRC-32C (Castagnoli), the one checksum of frames, batches, records and slots.

`google_crc32c` runs on the processor's own instruction but takes `bytes` only, which is why
frames and file reads stay `bytes` all through the broker.
"""

from __future__ import annotations

import google_crc32c

__all__ = ["crc32c", "extend"]


def crc32c(data: bytes) -> int:
    """Checksum of `data`, an unsigned 32-bit number."""
    return google_crc32c.value(data)  # type: ignore[no-any-return]


def extend(crc: int, data: bytes) -> int:
    """Checksum of what `crc` covered followed by `data`."""
    return google_crc32c.extend(crc, data)  # type: ignore[no-any-return]
