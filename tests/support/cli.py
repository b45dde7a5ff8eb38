"""The command line as its users run it: processes of their own, with and without a terminal.

Owns starting `shardmq ...`, reading what it says, and a `shardmq serve` that is ready when entered.
Must not know what a command should do.
"""

from __future__ import annotations

import errno
import json
import os
import pty
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

__all__ = ["Serve", "command", "output_on_terminal", "rows", "run"]

START_SECONDS = 30.0


def command(*words: str) -> list[str]:
    """The words that start `shardmq words...` with this interpreter."""
    return [sys.executable, "-m", "shardmq.router.cli", *words]


def environment(url: str | None = None) -> dict[str, str]:
    """The environment without anything of ShardMQ's, but `url`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHARDMQ_")}
    return kept if url is None else {**kept, "SHARDMQ_URL": url}


def run(
    *words: str, url: str | None = None, given: bytes | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command to its end, with `given` as its standard input."""
    return subprocess.run(
        command(*words),
        env=environment(url),
        input=given if given is not None else b"",
        capture_output=True,
        timeout=60,
        check=False,
        cwd=cwd,
    )


def rows(finished: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    """The JSON lines that a command printed; it must have succeeded."""
    assert finished.returncode == 0, finished.stderr.decode()
    return [json.loads(line) for line in finished.stdout.splitlines()]


def output_on_terminal(words: list[str], until: str, cwd: Path) -> tuple[str, int]:
    """What a command prints on a terminal up to `until`, when Ctrl-C is pressed, and its status."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command(*words),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment(),
        cwd=cwd,
    )
    os.close(follower)
    shown = b""
    try:
        give_up = time.monotonic() + START_SECONDS
        while until.encode() not in shown and time.monotonic() < give_up:
            shown += _read_some(leader)
        process.send_signal(signal.SIGINT)
        while process.poll() is None and time.monotonic() < give_up:
            shown += _read_some(leader)  # a full terminal would stop its writers
        assert process.poll() is not None, f"Ctrl-C does not end it: {shown.decode()}"
        return shown.decode(), process.returncode
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def _read_some(leader: int) -> bytes:
    """What has come on a terminal within a tenth of a second."""
    if not select.select([leader], [], [], 0.1)[0]:
        return b""
    try:
        return os.read(leader, 65_536)
    except OSError as error:
        if error.errno != errno.EIO:  # how Linux says that nobody has the other side any more
            raise
        return b""


class Serve:
    """`shardmq serve` in a directory, as a context; ready once it is entered."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.data = folder / "data"
        self._flags = flags
        self.url = ""
        self.log: list[dict[str, Any]] = []
        """What it has logged so far, as JSON."""
        self.beside: list[str] = []
        """What else came on its standard error."""

    def __enter__(self) -> Serve:
        words = ["serve", "--data", str(self.data), "--listen", "tcp://127.0.0.1:0", *self._flags]
        self.process = subprocess.Popen(
            command(*words), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment()
        )
        ready: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(ready,), daemon=True)
        self._reader.start()
        self.url = ready.get(timeout=START_SECONDS)
        assert self.url, f"serve ended: {self.log}"
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop(signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end; the exit status. May be called again."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout=START_SECONDS)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status

    def _read(self, ready: queue.SimpleQueue[str]) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if not line.startswith(b"{"):
                self.beside.append(line.decode())
                continue
            event = json.loads(line)
            self.log.append(event)
            if event["text"] == "serving":
                ready.put(event["url"])
        ready.put("")
