#!/usr/bin/env python
"""The limits of this machine: bare ZeroMQ sockets and bare writev, for several frame sizes.

`shardmq bench` measures the one size that fits its run; this prints the whole curve. What each
column is: docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import msgspec

from shardmq.router.bench.machine import machine_facts
from shardmq.router.bench.raw import measure_raw
from shardmq.router.quantities import bytes_of, bytes_text, count_text


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["164", "4KiB", "64KiB", "256KiB", "1MiB"],
                        metavar="SIZE", help="payload frames, such as 256KiB")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure")
    parser.add_argument("--directory", help="where to write; its file system is measured")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shardmq-raw-", dir=arguments.directory) as folder:
        figures = [
            measure_raw(bytes_of(size), arguments.seconds, Path(folder)) for size in arguments.sizes
        ]
        machine = machine_facts(Path(folder).parent)
    if arguments.json:
        print(json.dumps({"machine": machine, "raw": msgspec.to_builtins(figures)}))
        return
    print(f"{'frame':>9} {'requests/s':>11} {'sockets':>12} {'writev':>12} {'+ fdatasync':>12}")
    for one in figures:
        print(
            f"{bytes_text(one.frame_bytes):>9} {count_text(one.sockets_requests_per_second):>11}"
            f" {bytes_text(one.sockets_bytes_per_second) + '/s':>12}"
            f" {bytes_text(one.writev_bytes_per_second) + '/s':>12}"
            f" {bytes_text(one.writev_synced_bytes_per_second) + '/s':>12}"
        )


if __name__ == "__main__":
    main()
