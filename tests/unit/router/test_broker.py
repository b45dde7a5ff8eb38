"""The broker's options and its plan of processes; that they run is shown in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest

from shardmq.router import Broker
from shardmq.router.broker import DEFAULT_RETENTION_MS
from shardmq.router.errors import AddressInvalid, BrokerError, NotLoopback, OptionInvalid


def test_making_one_does_nothing(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "data")
    assert not (tmp_path / "data").exists()
    assert (broker.pids(), broker.children()) == ({}, [])
    assert broker.wait()
    broker.request_stop()
    broker.stop()


def test_defaults_are_those_of_the_command_line(tmp_path: Path) -> None:
    options = Broker(tmp_path).options
    assert (options.listen, options.shards) == ("tcp://127.0.0.1:5680", None)
    assert (options.retention_ms, options.auto_create) == (DEFAULT_RETENTION_MS, False)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"shrads": 2}, "no option 'shrads'; there are shards"),
        ({"shards": "two"}, r"shards"),
        ({"routers": 0}, "1 to 64 routers"),
        ({"routers": 65}, "1 to 64 routers"),
        ({"retention_ms": -1}, "retention_ms is 0"),
        ({"retention_bytes": -1}, "retention_bytes is 0"),
        ({"log_level": "loud"}, "loud"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(
    tmp_path: Path, options: dict[str, object], text: str
) -> None:
    with pytest.raises(OptionInvalid, match=text):
        Broker(tmp_path, **options)


def test_addresses_are_checked_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(NotLoopback):
        Broker(tmp_path, listen="tcp://0.0.0.0:5680")
    with pytest.raises(AddressInvalid):
        Broker(tmp_path, listen="localhost")


def test_there_is_no_url_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="not running; call start"):
        _ = Broker(tmp_path).url


def test_routers_can_be_chosen(tmp_path: Path) -> None:
    assert Broker(tmp_path, routers=3).routers == 3
    assert Broker(tmp_path).routers >= 1
