"""Listen addresses: only this machine, no port of somebody else's."""

from __future__ import annotations

import socket

import pytest

from shardmq.router.errors import AddressInUse, AddressInvalid, NotLoopback
from shardmq.router.listen import DEFAULT_LISTEN, check_address, open_listeners


@pytest.mark.parametrize(
    "address",
    [
        DEFAULT_LISTEN,
        "tcp://127.0.0.1:0",
        "tcp://127.9.9.9:80",
        "tcp://[::1]:5680",
        "tcp://localhost:1",
    ],
)
def test_loopback_is_fine(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "tcp://0.0.0.0:5680",
        "tcp://*:5680",
        "tcp://192.168.1.7:5680",
        "tcp://[::]:5680",
        "tcp://example.com:5680",
        "tcp://localhost.example.com:5680",
    ],
)
def test_what_others_could_reach_is_refused_with_a_way_out(address: str) -> None:
    with pytest.raises(NotLoopback, match=r"ssh -L 5680:127\.0\.0\.1:5680"):
        check_address(address)


@pytest.mark.parametrize(
    "address",
    ["", "5680", "127.0.0.1:5680", "tcp://127.0.0.1", "tcp://:5680", "tcp://127.0.0.1:99999"],
)
def test_what_is_no_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(AddressInvalid, match="write tcp://host:port"):
        check_address(address)


def test_port_0_becomes_a_real_port_for_all_routers() -> None:
    listeners = open_listeners("tcp://127.0.0.1:0", 2)
    try:
        ports = {one.getsockname()[1] for one in listeners.sockets}
        assert len(ports) == 1
        assert listeners.address == f"tcp://127.0.0.1:{ports.pop()}"
    finally:
        listeners.close()


@pytest.mark.parametrize("reuse", [False, True])
def test_a_port_that_is_taken_is_said_even_if_it_may_be_shared(reuse: bool) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse))
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(AddressInUse, match="choose another port"):
            open_listeners(f"tcp://127.0.0.1:{other.getsockname()[1]}", 2)
