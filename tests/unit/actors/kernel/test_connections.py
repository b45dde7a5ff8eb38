"""Connections: who is gone, by news of descriptors that are used again at once."""

from __future__ import annotations

from shardmq.actors.kernel.connections import Connections, News


def opened(fd: int) -> News:
    return True, fd


def closed(fd: int) -> News:
    return False, fd


def met(*peers: tuple[bytes, int]) -> Connections:
    connections = Connections()
    for peer, fd in peers:
        connections.meet(peer, fd)
    assert connections.settle([opened(fd) for _, fd in peers]) == []
    return connections


def test_a_peer_is_gone_when_its_descriptor_was_closed() -> None:
    connections = met((b"a", 12), (b"b", 13))
    assert connections.known == {b"a", b"b"}
    assert connections.settle([closed(12)]) == [b"a"]
    assert connections.known == {b"b"}
    assert len(connections) == 1


def test_who_never_spoke_is_nobody() -> None:
    connections = Connections()
    assert connections.settle([opened(12)]) == []
    assert len(connections) == 1
    assert connections.settle([closed(12)]) == []
    assert len(connections) == 0


def test_the_successor_on_a_descriptor_is_not_gone() -> None:
    connections = met((b"a", 12))
    connections.meet(b"b", 12)
    assert connections.settle([closed(12), opened(12)]) == [b"a"]
    assert connections.settle([closed(12)]) == [b"b"]


def test_a_whole_life_between_two_looks_is_seen() -> None:
    connections = met((b"a", 12))
    connections.meet(b"b", 12)
    assert connections.settle([closed(12), opened(12), closed(12)]) == [b"a", b"b"]
    assert connections.known == set()


def test_of_two_that_were_met_on_one_descriptor_neither_is_gone_until_it_closes() -> None:
    connections = Connections()
    connections.meet(b"b", 12)
    connections.meet(b"a", 12)
    assert connections.settle([opened(12), closed(12), opened(12)]) == []
    assert connections.known == {b"a", b"b"}
    assert connections.settle([closed(12)]) == [b"b", b"a"]


def test_who_was_silent_and_went_leaves_its_descriptor_to_others() -> None:
    connections = Connections()
    connections.meet(b"b", 12)
    assert connections.settle([opened(12), closed(12), opened(12)]) == []
    assert connections.settle([closed(12)]) == [b"b"]


def test_a_peer_that_comes_back_under_its_name_is_met_again() -> None:
    connections = met((b"name", 12))
    assert connections.settle([closed(12), opened(13)]) == [b"name"]
    assert b"name" not in connections.known
    connections.meet(b"name", 13)
    assert connections.settle([]) == []
    assert connections.settle([closed(13)]) == [b"name"]


def test_a_peer_without_a_descriptor_is_gone() -> None:
    connections = Connections()
    connections.meet(b"a", -1)
    assert connections.settle([]) == [b"a"]
