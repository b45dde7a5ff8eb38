"""A network that loses, doubles, delays and reorders, at rates that a seed chooses.

Owns what may befall one message on its way, and connections: who dialled whom, whether they still
hold, and under which routing id the listener knows the dialler. Must not know what is carried.

A connection is a ZeroMQ one: bytes on their way to a process that dies are lost, bytes that a dead
process had handed over may still arrive, a reconnect gets a new routing id, and the dialler hears
of a lost connection late or not at all before it is up again (`silent`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .world import World


@dataclass
class Weather:
    """What may happen to one message on its way; probabilities and milliseconds."""

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay_ms: float = 0.2
    stall: float = 0.0
    stall_ms: float = 500.0
    silent: float = 0.0
    """Share of lost connections that one side is not told of."""


class Listener(Protocol):
    """A process with a bound socket."""

    name: str
    incarnation: int

    @property
    def listening(self) -> bool: ...

    def arrived(self, link: str, peer: bytes, frames: list[bytes]) -> None: ...

    def peer_gone(self, peer: bytes) -> None: ...


class Network:
    """Carries frames from one end of a connection to the other."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sent = self.dropped = self.duplicated = 0
        self.links: list[Link] = []
        self.by_peer: dict[bytes, Link] = {}
        self._peers = 0

    def next_peer(self) -> bytes:
        """A routing id as libzmq makes them."""
        self._peers += 1
        return b"\0" + self._peers.to_bytes(4, "big")

    def cut(self, listener: Listener) -> None:
        """`listener` has died: everybody who was connected loses the connection."""
        for link in self.links:
            if link.listener is listener:
                link.lost()

    def reply(self, peer: bytes, frames: list[bytes]) -> None:
        """From a listener to the connection it knows as `peer`; dropped if that is gone."""
        link = self.by_peer.get(peer)
        if link is not None:
            link.reply(frames)


class Link:
    """A dialler's socket: connects, and connects again, until it is closed.

    `took` gets what arrives, `told` hears that the connection came up (True) or was lost (False).
    """

    def __init__(
        self,
        network: Network,
        name: str,
        weather: Weather,
        choose: Callable[[], Listener],
        socket: str,
        took: Callable[[list[bytes]], None],
        told: Callable[[bool], None],
    ) -> None:
        self.network = network
        self.world = network.world
        self.name = name
        self.weather = weather
        self.listener: Listener | None = None
        self.peer = b""
        self._choose = choose
        self._socket = socket
        self._took = took
        self._told = told
        self._closed = False
        self._was_told = False
        self._generation = 0
        self._handed_over = False
        self._last_ms = [0.0, 0.0]
        network.links.append(self)
        self._dial_later(0.0, 2.0)

    @property
    def up(self) -> bool:
        return self.listener is not None

    # --- connecting --------------------------------------------------------------------------

    def _dial_later(self, low_ms: float, high_ms: float) -> None:
        self.world.after(self.world.chance.uniform(low_ms, high_ms), self._dial)

    def _dial(self) -> None:
        if self._closed or self.listener is not None:
            return
        target = self._choose()
        if not target.listening:
            self._dial_later(20.0, 150.0)
            return
        self._generation += 1
        self.listener = target
        self.peer = self.network.next_peer()
        self.network.by_peer[self.peer] = self
        self._last_ms = [0.0, 0.0]
        self.world.note(self.name, "connected", target.name)
        if not self._was_told or self.world.chance.random() >= self.weather.silent:
            self._was_told = True
            self._told(True)

    def lost(self) -> None:
        """The connection breaks; whatever is on its way may be lost."""
        if self.listener is None:
            return
        self.world.note(self.name, "lost", self.listener.name)
        self._tell_listener()
        self.listener = None
        del self.network.by_peer[self.peer]
        self._generation += 1
        generation = self._generation
        chance, now_ms = self.world.chance, self.world.mono_ms
        silent = chance.random() < self.weather.silent
        # What the other side had handed over before it died mostly arrives, ahead of the news.
        self._handed_over = chance.random() < 0.7
        news_ms = max(now_ms, self._last_ms[1]) if self._handed_over else now_ms

        def tell() -> None:
            if not self._closed and self._generation == generation:
                self._was_told = False
                self._told(False)

        if not silent:
            self.world.at(news_ms + chance.expovariate(1.0), tell)
        self._dial_later(5.0 + news_ms - now_ms, 120.0 + news_ms - now_ms)

    def close(self) -> None:
        """The dialler's process is gone."""
        self._closed = True
        self._tell_listener()
        self.listener = None
        self.network.by_peer.pop(self.peer, None)
        self._generation += 1
        self.network.links.remove(self)

    def _tell_listener(self) -> None:
        """The other side hears that this connection is gone, if it lives; or it never does."""
        listener, peer = self.listener, self.peer
        if listener is None or self.world.chance.random() < self.weather.silent:
            return
        incarnation = listener.incarnation

        def tell() -> None:
            if listener.incarnation == incarnation:
                listener.peer_gone(peer)

        at_ms = max(self.world.mono_ms, self._last_ms[0])
        self.world.at(at_ms + self.world.chance.expovariate(1.0), tell)

    # --- carrying ----------------------------------------------------------------------------

    def send(self, frames: list[bytes]) -> bool:
        """To the listener; False if there is no connection that takes it."""
        target, peer = self.listener, self.peer
        if target is None:
            return False
        incarnation = target.incarnation

        def arrive() -> None:
            if target.incarnation == incarnation and target.listening:
                target.arrived(self._socket, peer, frames)

        self._carry(0, arrive)
        return True

    def reply(self, frames: list[bytes]) -> None:
        """To the dialler."""
        generation = self._generation

        def arrive() -> None:
            lost = self._generation == generation + 1 and self.listener is None
            holds = self._generation == generation or (lost and self._handed_over)
            if holds and not self._closed:
                self._took(frames)

        self._carry(1, arrive)

    def _carry(self, way: int, arrive: Callable[[], None]) -> None:
        weather, chance, network = self.weather, self.world.chance, self.network
        network.sent += 1
        if chance.random() < weather.drop:
            network.dropped += 1
            self.world.note(self.name, "dropped", way)
            return
        copies = 1
        if chance.random() < weather.duplicate:
            network.duplicated += 1
            copies = 2
        for _ in range(copies):
            delay_ms = chance.expovariate(1.0 / weather.delay_ms)
            if chance.random() < weather.stall:
                delay_ms += chance.uniform(0.0, weather.stall_ms)
            arrive_ms = self.world.mono_ms + delay_ms
            if chance.random() >= weather.reorder:
                arrive_ms = max(arrive_ms, self._last_ms[way])
                self._last_ms[way] = arrive_ms
            self.world.at(arrive_ms, arrive)
