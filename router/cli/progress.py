"""Live rates of a running benchmark, on a terminal only.

Owns one line for each worker: messages so far, rate since the last report, rate over all.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from ..quantities import count_text

if TYPE_CHECKING:
    from rich.live import Live

__all__ = ["Rates"]


class Rates:
    """A context that shows what `progressed` is told; silent where nobody looks."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live: Live | None = None
        self._lines: dict[str, str] = {}
        self._last: dict[str, tuple[int, float]] = {}

    def __enter__(self) -> Rates:
        if self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self._stream, highlight=False)
            self._live = Live("", console=console, refresh_per_second=8, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def progressed(self, name: str, count: int, seconds: float) -> None:
        """A worker has done `count` messages, `seconds` after its start."""
        count_before, seconds_before = self._last.get(name, (0, 0.0))
        self._last[name] = (count, seconds)
        now = (count - count_before) / max(seconds - seconds_before, 1e-9)
        overall = count / max(seconds, 1e-9)
        self._lines[name] = (
            f"{name:<9} {count:>12,} messages   {count_text(now):>7}/s now"
            f"   {count_text(overall):>7}/s over all"
        )
        if self._live is not None:
            self._live.update("\n".join(self._lines.values()))

    def text(self) -> str:
        """What is shown now."""
        return "\n".join(self._lines.values())
