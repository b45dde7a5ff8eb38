"""The router's process: its parts fit together."""

from __future__ import annotations

import os
from pathlib import Path

from shardmq.router.listen import open_listeners
from shardmq.router.process import RouterConfig, build


def test_it_opens_its_sockets_shows_its_figures_and_stops(tmp_path: Path) -> None:
    listeners = open_listeners("tcp://127.0.0.1:0", 1)
    config = RouterConfig(
        mailbox=f"ipc://{tmp_path}/r.sock",
        address=listeners.address,
        listen_fd=os.dup(listeners.sockets[0].fileno()),
        shards=1,
        links={"shard-0": f"ipc://{tmp_path}/s.sock", "coordinator": f"ipc://{tmp_path}/c.sock"},
        version="1.2",
    )
    shell = build(config, "router-0")
    assert shell.figures()["links_up"] == 0
    shell.request_stop()
    shell.run()
    listeners.close()
