"""A process that keeps echo children, for tests of what becomes of them when it ends.

`python -m support.keeper DIRECTORY thread|main`: prints the children's pids once all serve, then
waits for SIGTERM or SIGINT and stops them in order.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from shardmq.actors.kernel.clock import SystemClock
from shardmq.actors.kernel.supervising import Supervisor
from shardmq.actors.kernel.supervisor import ChildStatus

from .actors import echo_spec


def main(directory: Path, where: str) -> None:
    def changed(_: ChildStatus) -> None:
        pids = [child.pid for child in supervisor.children()]
        if supervisor.is_ready and not told:
            told.extend(pids)
            print(*pids, flush=True)

    told: list[int | None] = []
    specs = [echo_spec(directory, "a"), echo_spec(directory, "b", stage=1)]
    supervisor = Supervisor(specs, SystemClock(), on_change=changed)
    over = threading.Event()

    def stop(*_: object) -> None:
        supervisor.request_stop()
        over.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if where == "main":
        supervisor.run()
    else:
        supervisor.start()
        over.wait()
        supervisor.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
