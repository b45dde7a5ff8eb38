"""Room: what is gathered and what is sealed count together, and one message always fits."""

from __future__ import annotations

from shardmq.client import Message
from support.clients import Wired


def test_what_gathers_and_what_is_sealed_count_until_it_is_acknowledged() -> None:
    wired = Wired()
    wired.broker.create("t", 4)
    core = wired.producer(buffer_bytes=10_000)
    assert core.can_add("t", 1_000_000), "nothing is there: one message always fits"
    core.add_checked(Message("t", b"x" * 968), None, None, wired.now)
    wired.run()
    assert core.used_bytes() == 1_000
    core.urge("t", wired.now)
    assert core.used_bytes() == 1_000, "it is in flight"
    assert not core.can_add("t", 9_001)
    wired.run()
    assert core.used_bytes() == 0


def test_a_parcel_is_as_large_as_its_queues_and_the_buffer_allow() -> None:
    wired = Wired()
    wired.broker.create("t", 2)
    core = wired.producer()
    assert core.parcel_bytes("t") == 4 * 256 * 1024, "until the route is known"
    core.add_checked(Message("t", b"x"), None, None, wired.now)
    wired.run()
    assert core.parcel_bytes("t") == 2 * 256 * 1024
    assert wired.producer(buffer_bytes=4_000).parcel_bytes("t") == 1_000
