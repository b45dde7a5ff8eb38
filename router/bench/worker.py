"""A worker's process: `python -m shardmq.router.bench.worker`, spoken to over its pipes.

Owns the process: plan in, answers out, end with the parent. What the worker does is in load.py.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time

import msgspec

from .load import LOADS
from .plan import Answer, Done, Expect, Go, Plan, Progress, Ready, decode_order, encode

__all__ = ["main"]


def main() -> None:
    """Reads a plan, gets ready, waits for the start, works, reports."""
    plan = decode_order(sys.stdin.buffer.readline())
    assert isinstance(plan, Plan), "the conductor sends the plan first"
    expected = [plan.expect]
    load = LOADS[plan.role](plan)
    try:
        _say(Ready(pid=os.getpid()))
        if not isinstance(decode_order(sys.stdin.buffer.readline()), Go):
            raise SystemExit("the second order is the start")
        threading.Thread(target=_listen, args=(expected,), daemon=True).start()
        cpu_seconds = time.process_time()
        done = load.run(_progressed, lambda: expected[0])
        _say(_with_usage(done, time.process_time() - cpu_seconds))
    finally:
        load.close()


def _listen(expected: list[int]) -> None:
    """Takes later orders; when the pipe closes the conductor is gone: end, too."""
    for line in sys.stdin.buffer:
        order = decode_order(line)
        if isinstance(order, Expect):
            expected[0] = order.count
    os._exit(1)


def _say(answer: Answer) -> None:
    sys.stdout.buffer.write(encode(answer))
    sys.stdout.buffer.flush()


def _progressed(count: int, seconds: float) -> None:
    _say(Progress(count=count, seconds=seconds))


def _with_usage(done: Done, cpu_seconds: float) -> Done:
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return msgspec.structs.replace(
        done, cpu_seconds=round(cpu_seconds, 3), rss_peak_bytes=peak_kib * 1024
    )


if __name__ == "__main__":
    main()
