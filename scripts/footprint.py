#!/usr/bin/env python
"""What a broker costs before it does anything: time to start, idle memory, bytes on the disk.

start    from the call of `shardmq serve` to the first acknowledged (synced) message
memory   resident memory of all its processes together, after so many idle seconds; pages that
         processes share count for each (RSS), and once as well (PSS)
disk     bytes of the log for each 100 B message in full batches, preallocated space not counted
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from shardmq.client import Admin, Message, Producer
from shardmq.router.bench.watch import role_of
from shardmq.router.quantities import bytes_text, duration_text

BODY_BYTES = 100
START_SECONDS = 30.0


def measure(
    shards: int, idle_seconds: float, messages: int, directory: str | None
) -> dict[str, Any]:
    """All three figures of one broker."""
    with tempfile.TemporaryDirectory(prefix="shardmq-footprint-", dir=directory) as folder:
        data = Path(folder) / "data"
        url = f"tcp://127.0.0.1:{free_port()}"
        command = [sys.executable, "-m", "shardmq.router.cli", "serve", "--data", str(data)]
        command += ["--listen", url, "--shards", str(shards), "--auto-create"]
        start = time.monotonic()
        serve = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with Producer(url, timeout=START_SECONDS) as producer:
                producer.send(Message("first", b"x" * BODY_BYTES))
            start_seconds = time.monotonic() - start
            time.sleep(idle_seconds)
            memory = memory_of(serve.pid)
            disk = disk_bytes_per_message(url, data, messages)
        finally:
            serve.send_signal(signal.SIGTERM)
            status = serve.wait(timeout=START_SECONDS)
    assert status == 0, f"serve ended with {status}"
    return {"start_seconds": round(start_seconds, 3), **memory, "disk_bytes_per_message": disk}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def memory_of(pid: int) -> dict[str, Any]:
    """Memory of a process and all that it started."""
    root = psutil.Process(pid)
    rows = {}
    for process in (root, *root.children(recursive=True)):
        full = process.memory_full_info()
        name = "supervisor" if process is root else role_of(process.cmdline())
        rows[name] = {"rss": full.rss, "pss": full.pss}
    return {
        "rss_bytes": sum(row["rss"] for row in rows.values()),
        "pss_bytes": sum(row["pss"] for row in rows.values()),
        "processes": rows,
    }


def disk_bytes_per_message(url: str, data: Path, messages: int) -> float:
    """Growth of the written part of all files, for each message in full batches."""
    with Admin(url) as admin:
        admin.create_topic("disk")
    before = log_end_bytes(url)
    with Producer(url, timeout=START_SECONDS) as producer:
        producer.send_batch([Message("disk", b"x" * BODY_BYTES)] * messages)
    return round((log_end_bytes(url) - before) / messages, 2)


def log_end_bytes(url: str) -> int:
    """Where the logs of all shards end, as the shards say."""
    total = 0
    with Admin(url) as admin:
        shards = {queue.shard for queue in admin.describe_topic("disk").queues}
        for shard in shards:
            total += int(admin.stats(f"shard-{shard}")["journal_end"])
    return total


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--idle", type=float, default=3.0, help="seconds before memory is read")
    parser.add_argument("--messages", type=int, default=1_000_000, help="for the disk figure")
    parser.add_argument("--directory", help="where to keep the data meanwhile")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    figures = measure(arguments.shards, arguments.idle, arguments.messages, arguments.directory)
    if arguments.json:
        print(json.dumps(figures))
        return
    start = duration_text(figures["start_seconds"])
    print(f"start to the first acknowledged message  {start}")
    print(
        f"idle memory of all processes             {bytes_text(figures['rss_bytes'])} RSS,"
        f" {bytes_text(figures['pss_bytes'])} PSS"
    )
    for name, row in figures["processes"].items():
        print(f"  {name:<38} {bytes_text(row['rss'])} RSS, {bytes_text(row['pss'])} PSS")
    print(
        f"disk for a {BODY_BYTES} B message                  {figures['disk_bytes_per_message']} B"
    )


if __name__ == "__main__":
    main()
