"""The data directory: whose it is, which version wrote it, how many shards it has.

Owns everything in it that is not an actor's:

    format.json     version of the layout, number of shards (fixed for good), who made it when
    lock            flock of the broker that has it open; the text names process, host and time
    run             name of the directory of its sockets, which lies elsewhere (see below)
    coordinator/    the coordinator's journal      } by number, never by name
    shard-0/ ...    the shards' journals           }

Must not look into the journals. The lock is the kernel's: it goes with its holder, however that
ended, and no process that the broker starts inherits it. The sockets lie in a directory of their
own below the system's, because the path of a Unix socket has at most 107 bytes and a data directory
may be deep; that of a broker which was killed is removed by the next one.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from shardmq.actors.kernel.ports import Now

from .errors import DataDirInUse, DataDirShards, DataDirUnusable, DataDirVersion, OptionInvalid

__all__ = ["FORMAT_VERSION", "SHARDS_MAX", "DataDir", "open_data_dir"]

FORMAT_VERSION = 1
SHARDS_MAX = 256
_OLDEST_READ = 1
_RUN_PREFIX = "shardmq-"
_OWN_FILES = {"format.json", "format.json.new", "lock", "run"}


class Format(msgspec.Struct, kw_only=True):
    """Content of format.json."""

    format: int
    shards: int
    created_by: str = ""
    created_at_ms: int = 0


class DataDir:
    """An open data directory. `close` gives it back; made by `open_data_dir`."""

    def __init__(
        self, path: Path, lock_fd: int, layout: Format, run: Path, run_lock_fd: int
    ) -> None:
        self.path = path
        self.shards = layout.shards
        self.run = run
        """Directory of the sockets, readable by nobody else."""
        self._layout = layout
        self._lock_fd: int | None = lock_fd
        self._run_lock_fd = run_lock_fd

    @property
    def coordinator(self) -> Path:
        return self.path / "coordinator"

    def shard(self, number: int) -> Path:
        return self.path / f"shard-{number}"

    def mailbox(self, name: str) -> str:
        """Address of an actor's mailbox."""
        return f"ipc://{self.run}/{name}.sock"

    def settle(self) -> None:
        """Fixes the layout of a new directory. Until then nothing of a start that was refused for
        another reason (the port, say) stays behind.

        Raises:
            DataDirUnusable: it cannot be written.
        """
        file = self.path / "format.json"
        if file.exists():
            return
        try:
            _replace(file, msgspec.json.encode(self._layout))
        except OSError as error:
            raise _unusable(self.path, error) from None

    def close(self) -> None:
        """Removes the sockets and unlocks. May be called again."""
        if self._lock_fd is None:
            return
        shutil.rmtree(self.run, ignore_errors=True)
        os.close(self._run_lock_fd)
        # Said, not left to `close`: a fork of the embedding program may hold a copy.
        fcntl.flock(self._lock_fd, fcntl.LOCK_UN)
        os.close(self._lock_fd)
        self._lock_fd = None


def open_data_dir(path: Path, *, shards: int | None, version: str, now: Now) -> DataDir:
    """Opens `path`, made if missing with `shards` shards (None: one for each core).

    Raises:
        DataDirInUse: another broker has it.
        DataDirVersion: written by another version.
        DataDirShards: it has another number of shards.
        DataDirUnusable: not ours, or it cannot be written.
        OptionInvalid: `shards` is out of range.
    """
    if shards is not None and not 1 <= shards <= SHARDS_MAX:
        raise OptionInvalid(f"a broker has 1 to {SHARDS_MAX} shards, not {shards}")
    path = path.expanduser().absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_ours(path)
        lock_fd = _locked(path, now)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        found = _format_of(path)
        if found is None:
            found = Format(
                format=FORMAT_VERSION,
                shards=shards or min(cores(), SHARDS_MAX),
                created_by=version,
                created_at_ms=now.wall_ms,
            )
        elif shards not in (None, found.shards):
            text = f"{path} was made for {found.shards} shard(s), not {shards}"
            raise DataDirShards(text, f"start with {found.shards}, or use another directory")
        return DataDir(path, lock_fd, found, *_fresh_run_dir(path))
    except OSError as error:
        os.close(lock_fd)
        raise _unusable(path, error) from None
    except BaseException:
        os.close(lock_fd)
        raise


def _unusable(path: Path, error: OSError) -> DataDirUnusable:
    if isinstance(error, FileExistsError | NotADirectoryError):
        reason, hint = "it, or what it is in, is a file", "name a directory"
    else:
        reason, hint = str(error.strerror), "choose another one, or mend its permissions"
    return DataDirUnusable(f"{path} cannot be used as data directory: {reason}", hint)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def _check_ours(path: Path) -> None:
    """A directory full of something else is not filled with journals."""
    if (path / "format.json").exists():
        return
    others = sorted(entry.name for entry in path.iterdir() if entry.name not in _OWN_FILES)
    if others:
        text = f"{path} is not empty and no data directory (there is {others[0]!r}, for one)"
        raise DataDirUnusable(text, "name an empty or a new directory")


def _locked(path: Path, now: Now) -> int:
    lock_fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock_fd, 1_000, 0)
        os.close(lock_fd)
        raise DataDirInUse(
            f"{path} is in use by {_holder_text(holder)}",
            "stop that broker, or use another directory",
        ) from None
    since = datetime.fromtimestamp(now.wall_ms / 1000, UTC).isoformat(timespec="seconds")
    holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode()
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, holder + b"\n", 0)
    return lock_fd


def _holder_text(holder: bytes) -> str:
    """Who holds the lock; it may be just about to write that down."""
    try:
        told: dict[str, Any] = json.loads(holder)
        return f"process {told['pid']} on {told['host']} since {told['since']}"
    except (ValueError, KeyError, TypeError):
        return "another broker"


def _format_of(path: Path) -> Format | None:
    try:
        content = (path / "format.json").read_bytes()
    except FileNotFoundError:
        return None
    try:
        found = msgspec.json.decode(content, type=Format)
    except msgspec.MsgspecError as error:
        text = f"{path / 'format.json'} cannot be read: {error}"
        raise DataDirUnusable(text, "restore it from a backup") from None
    if not _OLDEST_READ <= found.format <= FORMAT_VERSION:
        text = f"{path} has format {found.format}, written by ShardMQ {found.created_by}"
        raise DataDirVersion(text, f"this version reads format {FORMAT_VERSION}: use that one")
    if not 1 <= found.shards <= SHARDS_MAX:
        text = f"{path / 'format.json'} names {found.shards} shards"
        raise DataDirUnusable(text, "restore it from a backup")
    return found


def _replace(path: Path, content: bytes) -> None:
    """Writes a file so that after a crash it is there whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    with open(fresh, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(fresh, path)
    directory_fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory_fd)
    finally:
        os.close(directory_fd)


def _fresh_run_dir(path: Path) -> tuple[Path, int]:
    """A new directory for sockets and its lock; that of a dead predecessor is removed.

    Alive is who holds the lock: a copy of a running broker's directory names its sockets as well,
    and must not take them away.
    """
    note = path / "run"
    with suppress(FileNotFoundError):
        left = Path(note.read_text().strip())
        if (
            left.name.startswith(_RUN_PREFIX)
            and left.is_dir()
            and left.stat().st_uid == os.getuid()
            and not _is_locked(left)
        ):
            shutil.rmtree(left, ignore_errors=True)
    run = Path(tempfile.mkdtemp(prefix=_RUN_PREFIX, dir=os.environ.get("XDG_RUNTIME_DIR")))
    run_lock_fd = os.open(run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(run_lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    note.write_text(f"{run}\n")
    return run, run_lock_fd


def _is_locked(run: Path) -> bool:
    """True while the broker lives whose sockets these are."""
    try:
        lock_fd = os.open(run / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False  # killed before it had made one
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock_fd)
    return False
