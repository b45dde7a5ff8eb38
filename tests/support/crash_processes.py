"""The processes of a crash loop: a broker that can be killed piece by piece, and its clients.

Owns starting, killing and ending them. Must not know when or why: scripts/crash_loop.py does.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from shardmq.router.bench.watch import role_of

from . import repo

__all__ = ["DRAIN_SECONDS", "START_SECONDS", "BrokerProcess", "Client"]

START_SECONDS = 30.0
DRAIN_SECONDS = 45.0


class BrokerProcess:
    """`shardmq serve` in a process of its own, on one port for all its lives."""

    def __init__(self, folder: Path, shards: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        self._command = [
            sys.executable, "-m", "shardmq.router.cli", "serve", "--log-format", "json",
            "--listen", self.url, "--data", str(folder / "data"), "--shards", str(shards),
        ]  # fmt: skip
        self.components = ["router", "coordinator", *(f"shard-{n}" for n in range(shards))]
        self._log_path = folder / "serve.log"
        self._log = self._log_path.open("ab")
        self.start()

    def start(self) -> None:
        """Starts it and waits until all of it serves: before that, the death of a process ends the
        whole start, which is right and not what is tested here."""
        logged_bytes = self._log_path.stat().st_size
        self._process = subprocess.Popen(
            self._command, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL
        )
        give_up = time.monotonic() + START_SECONDS
        while b'"text": "serving"' not in self._log_path.read_bytes()[logged_bytes:]:
            assert self.running(), f"serve does not start; see {self._log_path}"
            assert time.monotonic() < give_up, f"serve is not ready; see {self._log_path}"
            time.sleep(0.01)

    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self, component: str) -> int | None:
        """Sends SIGKILL; the time of it, or None if that process is not there right now."""
        if component == "all":
            victims = psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
        else:
            victims = self._named(component)
        at_ns = time.monotonic_ns()
        for victim in victims:
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                continue  # the death of its parent was quicker
        if component == "all":
            self._process.wait()
        return at_ns if victims else None

    def _named(self, component: str) -> list[psutil.Process]:
        """Processes of a component; of several routers one will do."""
        found = []
        for child in psutil.Process(self._process.pid).children(recursive=True):
            try:
                name = role_of(child.cmdline())
            except psutil.Error:
                continue  # it ended while we looked
            if name == component or name.startswith(component + "-"):
                found.append(child)
        return found[:1]

    def stop(self) -> int:
        """Stops it in order; its exit status."""
        self._process.terminate()
        try:
            return self._process.wait(timeout=30)
        finally:
            self._process.kill()
            self._log.close()


class Client:
    """One worker process and the file it writes."""

    def __init__(
        self, role: str, name: str, folder: Path, url: str, topic: str, **more: str
    ) -> None:
        self.name = name
        self.role = role
        self.more = more
        self.notes = folder / f"{name}.notes"
        options = [text for key, value in more.items() for text in (f"--{key}", value)]
        command = [sys.executable, str(repo.ROOT / "scripts/crash_worker.py"), role]
        command += ["--url", url, "--topic", topic, "--name", name, "--notes", str(self.notes)]
        self.process = subprocess.Popen(command + options)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        try:
            self.process.wait(timeout=DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
