"""What machine a figure was measured on.

Owns the facts that change figures: processors, kernel, interpreter, libraries, file system.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import zmq

__all__ = ["machine_facts"]


def machine_facts(directory: Path) -> dict[str, Any]:
    """Facts of this machine; `directory` says whose file system matters."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_model": _cpu_model(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "pyzmq": zmq.pyzmq_version(),
        "libzmq": zmq.zmq_version(),
        "shardmq": version("shardmq"),
        "file_system": file_system_of(directory),
    }


def file_system_of(directory: Path) -> str:
    """Type of the file system that holds `directory`: on tmpfs a sync costs nothing."""
    best, kind = "", "?"
    for partition in psutil.disk_partitions(all=True):
        mount = partition.mountpoint
        if directory.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, partition.fstype
    return kind


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
