"""Opened: when the linger ends and when it is given up follows from the options."""

from __future__ import annotations

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.compress import Compression
from shardmq.client.produce.opened import Opened, ProducerOptions
from shardmq.client.produce.receipts import Parcel


def test_times_count_from_the_first_message() -> None:
    options = ProducerOptions("synced", 3_000.0, 5.0, Compression.NONE, 1 << 20)
    opened = Opened(Parcel("t", 1), 1_000, Now(50.0, 777), options)
    assert (opened.due_ms, opened.deadline_ms, opened.born_ms) == (55.0, 3_050.0, 777)
    assert (opened.room, opened.used_max) == (1_000, 1_000)
