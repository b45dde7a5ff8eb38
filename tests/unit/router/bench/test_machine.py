"""Facts of a machine: those that change figures."""

from __future__ import annotations

from pathlib import Path

from shardmq.router.bench.machine import file_system_of, machine_facts


def test_facts_name_processors_versions_and_the_file_system(tmp_path: Path) -> None:
    facts = machine_facts(tmp_path)
    assert facts["cpus"] >= 1
    assert facts["memory_bytes"] > 1 << 28
    for name in ("cpu_model", "kernel", "python", "pyzmq", "libzmq", "shardmq", "file_system"):
        assert facts[name], name


def test_the_innermost_mount_counts() -> None:
    assert file_system_of(Path("/proc/self")) == "proc"
