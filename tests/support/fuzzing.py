"""Fuzzing: hostile bytes, and how long to go on with them.

Owns the strategies that every fuzz test shares. Knows no decoder.

    FUZZ_FACTOR=100 python -m pytest tests/fuzz      a hundred times as many examples
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FACTOR = int(os.environ.get("FUZZ_FACTOR", "1"))
_MIB = 1 << 20


def examples(count: int) -> Callable[[Any], Any]:
    """Decorator: `count` examples, times FUZZ_FACTOR."""
    return settings(
        max_examples=count * FACTOR,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


INTERESTING = st.sampled_from(
    [b"\x00", b"\xff", b"\x7f", b"\x80", b"\xc0", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xed\xa0\x80",
     b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
     b"\xcf" + b"\xff" * 8,
     b"\xd3\x80" + b"\x00" * 7, b"\xcb\x7f\xf8" + b"\x00" * 6, b"\x91" * 2_000, b"[" * 2_000,
     b'"\\ud800"', b"9" * 400, b"NaN", b"\x00" * 8, b"\xff" * 8]
)  # fmt: skip
"""Bytes that mean something awkward in msgpack, JSON or a fixed field."""


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """`valid` after one to four cuts, changes and insertions."""
    data = valid
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.sampled_from([0, 1, 1, 2, 4, 8]))
        put = draw(st.one_of(st.binary(max_size=8), INTERESTING))
        data = data[:at] + put + data[at + length :]
        if draw(st.integers(0, 9)) == 0:
            data = data[: draw(st.integers(0, len(data)))]
    return data


TEXT = st.text(max_size=6)
"""Lone surrogates included."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=6)
    | st.sampled_from([-1, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - 1, -(1 << 63)]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
"""Values of every type that msgpack or JSON can carry, and some that they cannot."""


@contextmanager
def bounded(*, memory_bytes: int, seconds: float = 5.0) -> Iterator[None]:
    """Fails if what runs inside makes more memory, or takes more time of the processor (which is
    several times what it takes unobserved)."""
    tracemalloc.start()
    start = time.process_time()
    try:
        yield
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    took_s = time.process_time() - start
    assert peak_bytes <= memory_bytes, f"{peak_bytes / _MIB:.1f} MiB of {memory_bytes / _MIB:.1f}"
    assert took_s <= seconds, f"{took_s:.1f} s of {seconds}"
