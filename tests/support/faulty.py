"""The real LogIO with a hook in front of each call: it can fail, or the process "die" there.

Owns the hook and the descriptors, which a dead process would give back. Must not know the log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shardmq.shards.log.realio import RealLogIO
from support.disk import Call

__all__ = ["FaultyIO"]


class FaultyIO(RealLogIO):
    """Real files; `before` sees each call that changes something, and may raise."""

    def __init__(self) -> None:
        self.before: Callable[[Call], None] | None = None
        self._paths: dict[int, str] = {}

    def die(self) -> None:
        """What the kernel does for a killed process: descriptors closed, locks gone."""
        for file in list(self._paths):
            self.close(file)

    def _call(self, name: str, path: str, detail: int = 0) -> None:
        if self.before is not None:
            self.before(Call(name, path, detail))

    def open(self, path: str, *, create: bool = False, write: bool = False) -> int:
        if create:
            self._call("open", path)
        file = super().open(path, create=create, write=write)
        self._paths[file] = path
        return file

    def close(self, file: int) -> None:
        super().close(file)
        del self._paths[file]

    def writev(self, file: int, buffers: Sequence[bytes], offset: int) -> None:
        self._call("writev", self._paths[file], offset)
        super().writev(file, buffers, offset)

    def fdatasync(self, file: int) -> None:
        self._call("fdatasync", self._paths[file])
        super().fdatasync(file)

    def fallocate(self, file: int, size: int) -> None:
        self._call("fallocate", self._paths[file], size)
        super().fallocate(file, size)

    def truncate(self, file: int, size: int) -> None:
        self._call("truncate", self._paths[file], size)
        super().truncate(file, size)

    def rename(self, old: str, new: str) -> None:
        self._call("rename", new)
        super().rename(old, new)

    def unlink(self, path: str) -> None:
        self._call("unlink", path)
        super().unlink(path)

    def fsync_dir(self, path: str) -> None:
        self._call("fsync_dir", path)
        super().fsync_dir(path)
