"""The release clock: shards are told up to when scheduled messages are due.

Owns one RELEASE per shard, parked there, and when it has to be sent anew. Knows neither messages
nor why they wait; what is due when, only the shard knows. The watermark is a hint: a shard that
hears nothing releases nothing, one that hears it twice does nothing twice.

    RELEASE until=now, known due T ─► parked ─► T' is due next, another than T: answered
                                  └► T comes: RELEASE until=now, in place of the parked one

So a shard with nothing to release costs one request every WAIT_MS. Due times that lie close
together share one RELEASE: none is sent sooner than STEP_MS after the last one.

The clock is the wall's, but never goes back and never stands: when somebody sets the wall clock
back by an hour, what was to come in ten seconds still does. It is carried on by monotonic time as
long as this run of the coordinator lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..kernel.ports import Letter, Now
from ..protocol.codec import HeaderError, decode_header, encode_header
from ..protocol.codes import Code
from ..protocol.frames import Route, pack_envelope, pack_request
from ..protocol.group_messages import Release, ReleaseReply
from ..protocol.verbs import Verb

__all__ = ["RETRY_MS", "STEP_MS", "WAIT_MS", "ReleaseClock"]

WAIT_MS = 10_000
"""How long a RELEASE is parked; then the wall clock is read anew, in case somebody has set it."""
RETRY_MS = 1_000.0
"""After a refusal, or an answer that is so late, RELEASE is sent again."""
STEP_MS = 10.0
"""How late something may come because others came just before."""
_NEVER = float("inf")


class _Shard:
    __slots__ = ("known_due_ms", "link", "out_id", "send_at_ms", "sent_at_ms", "until_ms")

    def __init__(self, link: str) -> None:
        self.link = link
        self.until_ms = 0
        self.forget(_NEVER)

    def forget(self, send_at_ms: float) -> None:
        """Nothing is parked; the next one is sent at `send_at_ms` (monotonic)."""
        self.out_id = 0
        self.known_due_ms = 0
        self.sent_at_ms = -_NEVER
        self.send_at_ms = send_at_ms


class ReleaseClock:
    """Tells `shards` shards, over the links `shard-0` and so on."""

    def __init__(self, shards: int, *, epoch: int, is_told: Callable[[str], bool]) -> None:
        """
        Args:
            epoch: the coordinator's, for envelopes.
            is_told: whether the shard of a link has heard of all topics since it came.
        """
        self._epoch = epoch
        self._is_told = is_told
        self._by_link = {f"shard-{shard}": _Shard(f"shard-{shard}") for shard in range(shards)}
        self._request_id = 0
        self._ahead_ms = -_NEVER
        """The clock is so far ahead of monotonic time."""
        self.sent = 0
        """Counter since the start."""

    @property
    def wake_at_ms(self) -> float | None:
        moments = [
            shard.send_at_ms for shard in self._by_link.values() if self._is_told(shard.link)
        ]
        earliest = min(moments, default=_NEVER)
        return None if earliest == _NEVER else earliest

    def link_changed(self, link: str, up: bool, now: Now) -> None:
        """A shard came or went."""
        self._by_link[link].forget(now.mono_ms if up else _NEVER)

    def replied(self, link: str, route: Route, header: bytes, now: Now) -> None:
        """A shard answered a RELEASE."""
        shard = self._by_link[link]
        if route.request_id != shard.out_id:
            return  # one that was replaced
        shard.out_id = 0
        if route.tail == Code.UNKNOWN_VERB:
            shard.send_at_ms = _NEVER  # it schedules nothing
            return
        due_ms = _due_of(route, header)
        if due_ms is None:
            shard.send_at_ms = now.mono_ms + RETRY_MS
        else:
            shard.known_due_ms = due_ms
            shard.send_at_ms = max(now.mono_ms, shard.sent_at_ms + STEP_MS)

    def letters(self, now: Now) -> list[Letter]:
        """Every RELEASE that is to be sent now."""
        return [
            self._letter(shard, now)
            for shard in self._by_link.values()
            if shard.send_at_ms <= now.mono_ms and self._is_told(shard.link)
        ]

    def stats(self) -> dict[str, Any]:
        """Counters since the start."""
        return {"releases_sent": self.sent}

    def _read(self, now: Now) -> int:
        self._ahead_ms = max(self._ahead_ms, now.wall_ms - now.mono_ms)
        return int(now.mono_ms + self._ahead_ms)

    def _letter(self, shard: _Shard, now: Now) -> Letter:
        self._request_id += 1
        self.sent += 1
        shard.out_id = self._request_id
        shard.until_ms = self._read(now)
        shard.sent_at_ms = now.mono_ms
        shard.send_at_ms = now.mono_ms + WAIT_MS + RETRY_MS
        if shard.known_due_ms > shard.until_ms:
            due_in_ms = max(STEP_MS, shard.known_due_ms - shard.until_ms)
            shard.send_at_ms = min(shard.send_at_ms, now.mono_ms + due_in_ms)
        header = encode_header(
            Release(until_ms=shard.until_ms, known_due_ms=shard.known_due_ms, wait_ms=WAIT_MS)
        )
        route = pack_request(Verb.RELEASE, shard.out_id, int(WAIT_MS + RETRY_MS))
        envelope = pack_envelope(self._epoch, 0, len(header))
        return shard.link, b"", [envelope, route, header]


def _due_of(route: Route, header: bytes) -> int | None:
    """The next due time that a shard names, 0 for none; None if it answered something else."""
    if route.tail != Code.OK:
        return None
    try:
        return decode_header(header, ReleaseReply, route.flags).next_due_ms
    except HeaderError:
        return None
