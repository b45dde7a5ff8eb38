"""Listening descriptors on real ports of the loopback."""

from __future__ import annotations

import socket

import pytest

from shardmq.actors.kernel.listening import ListenError, Listeners, listen


def port_of(listeners: Listeners) -> int:
    return int(listeners.address.rpartition(":")[2])


def test_port_zero_becomes_a_real_port_that_takes_connections() -> None:
    listeners = listen("tcp://127.0.0.1:0")
    port = port_of(listeners)
    assert port > 0
    socket.create_connection(("127.0.0.1", port)).close()
    listeners.close()


def test_several_sockets_share_the_port() -> None:
    listeners = listen("tcp://127.0.0.1:0", count=3)
    assert len({one.getsockname() for one in listeners.sockets}) == 1
    assert len(listeners.sockets) == 3
    listeners.close()


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("second", [1, 2])
def test_a_port_in_use_is_an_error_also_where_it_could_be_shared(first: int, second: int) -> None:
    listeners = listen("tcp://127.0.0.1:0", count=first)
    with pytest.raises(ListenError, match="in use"):
        listen(listeners.address, count=second)
    listeners.close()


def test_a_port_just_given_up_can_be_taken_again() -> None:
    listeners = listen("tcp://127.0.0.1:0")
    client = socket.create_connection(("127.0.0.1", port_of(listeners)))
    accepted, _ = listeners.sockets[0].accept()
    accepted.close()  # the side that closes first keeps the port in TIME_WAIT
    client.close()
    listeners.close()
    again = listen(listeners.address, count=2)
    assert again.address == listeners.address
    again.close()


def test_ipv6_addresses_keep_their_brackets() -> None:
    listeners = listen("tcp://[::1]:0")
    assert listeners.address.startswith("tcp://[::1]:")
    listeners.close()


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:5680", "ipc://x", "tcp://host", "tcp://h:x", "tcp://h:65536"]
)
def test_a_malformed_address_is_refused_with_the_right_form(address: str) -> None:
    with pytest.raises(ListenError, match="tcp://host:port"):
        listen(address)


def test_an_address_that_is_not_ours_says_so() -> None:
    with pytest.raises(ListenError, match=r"cannot listen on tcp://192\.0\.2\.1:0: \w+"):
        listen("tcp://192.0.2.1:0")
