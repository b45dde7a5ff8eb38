"""Exchange: all sockets of one actor behind one wait, one collect and one send.

Owns: the sockets, their inboxes, when to look at which, and what a send that fails means. Must not
know cores, journals or processes; the loops that do are `shell.py` and `supervising.py`.

Waiting. `zmq_poll` asks each socket two questions a turn (1.7 us for one socket, 6 us for six).
Here one epoll watches the sockets' descriptors (0.5 us for all). Such a descriptor is an edge, not
a level: it tells that a socket has something to look at, and any call on the socket may take that
sign away. Hence the rule that keeps it correct: before sleeping, every socket that was used since
it was last seen empty is asked once for its events. A socket is *unsure* from the moment something
is sent on it, or a drain ended at its bound, until a drain found it empty or it was asked. As a
second line of defence no sleep is longer than a second, and after it all sockets are asked.

Sending never blocks. A ROUTER that cannot take a reply (its peer is gone, or its pipe full and the
reply large, see `late.py`) drops it: who asked asks again. A link that cannot take a request is
reported down, and up again once there is room: its core has answered or kept what was on the way. A
link that is not connected takes nothing, by our own rule and not by libzmq's IMMEDIATE
(`sockets.py`); only what was on its way when the connection broke may reach the peer's next life,
as it might on any network.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Sequence
from typing import Any

import zmq

from .connections import News
from .late import LateLetters, Offer
from .mailbox import Inbox
from .port import Port
from .ports import Letter
from .sockets import (
    FRONT,
    MAILBOX,
    SocketPlan,
    descriptor_of,
    monitor_events,
    open_front,
    open_link,
    open_mailbox,
)

__all__ = ["Exchange"]

SLEEP_MS_MAX = 1_000
LAST_DRAINS_MAX = 4
"""Drains of the front in one turn that look for the last letters of peers that are gone."""
UNSETTLED_TURNS_MAX = 64
"""A front that is never found empty does not keep who is gone to itself for longer."""
_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_LAST = int(zmq.NOBLOCK)
_EVENTS = int(zmq.EVENTS)
_POLLIN = int(zmq.POLLIN)
_POLLOUT = int(zmq.POLLOUT)


class Exchange:
    """The sockets of one actor. Used by the thread that made it, and by no other."""

    def __init__(self, plan: SocketPlan) -> None:
        """Opens everything in `plan`.

        Raises:
            ValueError, zmq.ZMQError: as `open_mailbox`.
        """
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._epoll = select.epoll()
        self._ports: dict[str, Port] = {}
        self._port_of_fd: dict[int, Port] = {}
        self._monitor_of_fd: dict[int, Port] = {}
        self._unsure: set[Port] = set()
        self._readable: list[Port] = []
        self._links_changed: list[Port] = []
        self._front: Port | None = None
        self._front_news = False
        self._newcomers: list[tuple[bytes, int]] = []
        self._news: list[News] = []
        self._last_letters = False
        self._unsettled_turns = 0
        self._gone: list[bytes] = []
        self._late = LateLetters()
        # A descriptor's number is soon another file's: nobody may write to it once it is closed.
        # Reentrant, as a signal handler may interrupt the thread that holds it.
        self._closing = threading.RLock()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._wake_fd)
        self.sent = 0
        self.dropped = 0
        self.choked = self._late.choked
        try:
            self._open(plan)
        except BaseException:
            self.close(0)
            raise

    def _open(self, plan: SocketPlan) -> None:
        if plan.mailbox is not None:
            self._add(MAILBOX, open_mailbox(self._context, plan.mailbox), MAILBOX, plan)
        if plan.front is not None:
            front, front_monitor = open_front(self._context, plan.front)
            self._front = self._add(FRONT, front, FRONT, plan)
            self._newcomers = self._front.inbox.connections.newcomers
            self._watch_monitor(self._front, front_monitor)
        for name, address in plan.links.items():
            link, monitor = open_link(self._context, address)
            port = self._add(name, link, "link", plan)
            port.turns(connected=False)
            self._watch_monitor(port, monitor)
            self._links_changed.append(port)

    def _add(self, name: str, socket: zmq.Socket[bytes], kind: str, plan: SocketPlan) -> Port:
        port = Port(name, socket, Inbox(socket, name, kind, plan.opaque_bytes_min))
        fd = descriptor_of(socket)
        self._ports[name] = port
        self._port_of_fd[fd] = port
        self._epoll.register(fd, select.EPOLLIN)
        self._unsure.add(port)
        return port

    def _watch_monitor(self, port: Port, monitor: zmq.Socket[bytes]) -> None:
        port.monitor = monitor
        fd = descriptor_of(monitor)
        self._monitor_of_fd[fd] = port
        self._epoll.register(fd, select.EPOLLIN)

    def watch(self, fd: int) -> None:
        """Has `wait` report `fd` when it is readable."""
        self._epoll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        self._epoll.unregister(fd)

    def wake(self) -> None:
        """Ends the sleep, now or the next one; nothing once closed. From any thread, or from a
        signal handler."""
        with self._closing:
            if not self._epoll.closed:
                os.eventfd_write(self._wake_fd, 1)

    def wait(self, sleep_ms: float) -> list[int]:
        """Sleeps until a socket or a watched descriptor has something, at most `sleep_ms`.

        Returns the watched descriptors that are readable; letters are then there to `collect`.
        """
        readable = self._readable
        for port in self._unsure:
            events = port.events(_EVENTS)
            if events & _POLLIN:
                port.inbox.expects_one = False
                readable.append(port)
            if port.choked and port.connected and events & _POLLOUT:
                self._links_changed.append(port)
        self._unsure.clear()
        if readable or self._links_changed or self._front_news:
            sleep_ms = 0
        elif sleep_ms > SLEEP_MS_MAX:
            sleep_ms = SLEEP_MS_MAX
        if self._late:
            retry_ms, dropped = self._late.offer(self._offered)
            self.dropped += dropped
            sleep_ms = min(sleep_ms, retry_ms)
        ready = self._epoll.poll(sleep_ms / 1e3 if sleep_ms > 0 else 0)
        if not ready:
            if sleep_ms == SLEEP_MS_MAX:
                self._unsure.update(self._ports.values())
            return []
        watched: list[int] = []
        port_of_fd = self._port_of_fd
        for fd, _ in ready:
            found = port_of_fd.get(fd)
            if found is not None:
                if found not in readable:
                    readable.append(found)
            elif fd in self._monitor_of_fd:
                monitored = self._monitor_of_fd[fd]
                if monitored is self._front:
                    self._front_news = True
                else:
                    self._links_changed.append(monitored)
            elif fd == self._wake_fd:
                os.eventfd_read(fd)
            else:
                watched.append(fd)
        return watched

    def collect(self, letters: list[Letter], calls: list[Letter]) -> None:
        """Appends what arrived, a bounded drain of each socket; see `Inbox.drain`."""
        for port in self._links_changed:
            # The last answers of a peer that is gone come ahead of that news.
            while not port.inbox.drain(letters, calls):
                pass
        readable = self._readable
        if readable:
            self._readable = []
            for port in readable:
                self._drain(port, letters, calls)
        if self._front_news or self._newcomers:
            self._settle_connections(letters, calls)

    def _drain(self, port: Port, letters: list[Letter], calls: list[Letter]) -> bool:
        emptied = port.inbox.drain(letters, calls)
        if not emptied or port.choked:
            self._unsure.add(port)
        if port.inbox.refusals:
            refusals, port.inbox.refusals = port.inbox.refusals, []
            self.send(refusals)
        return emptied

    def _settle_connections(self, letters: list[Letter], calls: list[Letter]) -> None:
        """Finds out which peers of the front are gone, and collects their last letters; the rule
        is in `connections.py`. What is not found out in this turn is in one of the next ones."""
        front = self._front
        assert front is not None
        for _ in range(LAST_DRAINS_MAX):
            more = _connection_news(front.monitor)
            self._news += more
            if not all(opened for opened, _ in more):
                self._last_letters = True
            if not self._last_letters:
                break
            front.inbox.expects_one = False
            self._last_letters = not self._drain(front, letters, calls)
        else:
            self._unsettled_turns += 1
            if self._unsettled_turns < UNSETTLED_TURNS_MAX:
                self._front_news = True
                return
            self._news += _connection_news(front.monitor)  # of whom the last drain met
        self._gone += front.inbox.connections.settle(self._news)
        self.choked.difference_update(self._gone)
        self._news.clear()
        self._unsettled_turns = 0
        self._front_news = self._last_letters = False

    def peers_gone(self) -> list[bytes]:
        """Peers of the front whose connection closed since the last call; all that they sent was
        collected before."""
        if not self._gone:
            return self._gone
        gone, self._gone = self._gone, []
        return gone

    def link_changes(self) -> list[tuple[str, bool]]:
        """Links that came up or went down since the last call, in order."""
        if not self._links_changed:
            return []
        ports, self._links_changed = self._links_changed, []
        changes: list[tuple[str, bool]] = []
        for port in dict.fromkeys(ports):
            for event, _ in monitor_events(port.monitor):
                was_up = port.up
                port.turns(connected=event == zmq.EVENT_HANDSHAKE_SUCCEEDED)
                if port.up != was_up:
                    changes.append((port.name, port.up))
            # Also takes in the new pipe, or a send right now might not see it yet.
            events = port.events(_EVENTS)
            if port.connected and port.choked and events & _POLLOUT:
                port.choked = False
                changes.append((port.name, True))
            self._unsure.add(port)
        return changes

    def send(self, letters: Sequence[Letter]) -> list[str]:
        """Sends all. Returns the links that took nothing, each once: they are down now."""
        ports = self._ports
        unsure = self._unsure
        choked = self.choked
        failed: list[str] = []
        if not letters:
            return failed
        name = letters[0][0]
        port = ports[name]
        send = port.send
        unsure.add(port)
        for letter in letters:
            link, peer, frames = letter
            if link != name:
                name = link
                port = ports[link]
                send = port.send
                unsure.add(port)
            try:
                if peer:
                    send(peer, _MORE)
                if len(frames) == 3:
                    first, second, last = frames
                    send(first, _MORE)
                    send(second, _MORE)
                    send(last, _LAST)
                else:
                    for frame in frames[:-1]:
                        send(frame, _MORE)
                    send(frames[-1], _LAST)
                if choked:
                    choked.discard(peer)
            except zmq.ZMQError as error:
                # Only the first frame of a message can fail, so nothing is half sent.
                if not self._sent_at_second_try(port, letter, error):
                    self.dropped += 1
                    if not peer and self._choke(port):
                        failed.append(link)
        self.sent += len(letters)
        return failed

    def _sent_at_second_try(self, port: Port, letter: Letter, error: zmq.ZMQError) -> bool:
        """A send looks at new pipes and new room only now and then; asking for events does. True
        also if the letter waits for room."""
        if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
            raise error
        port.events(_EVENTS)
        outcome = self._offered(letter)
        if outcome is Offer.NO_ROOM and letter[1]:
            return self._late.keep(letter)
        return outcome is Offer.SENT

    def _offered(self, letter: Letter) -> Offer:
        link, peer, frames = letter
        port = self._ports[link]
        parts = [peer, *frames] if peer else frames
        self._unsure.add(port)
        try:
            for part in parts[:-1]:
                port.send(part, _MORE)
            port.send(parts[-1], _LAST)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            return Offer.NO_ROOM if error.errno == zmq.EAGAIN else Offer.NOBODY
        self.choked.discard(peer)
        return Offer.SENT

    def _choke(self, port: Port) -> bool:
        """Marks a link that takes nothing; True if its core believed it to be up."""
        was_up, port.choked = port.up, True
        return was_up

    def figures(self) -> dict[str, Any]:
        """Counters since the start."""
        inboxes = [port.inbox for port in self._ports.values()]
        return {
            "messages_in": sum(one.taken for one in inboxes),
            "bytes_in": sum(one.taken_bytes for one in inboxes),
            "malformed": sum(one.malformed for one in inboxes),
            "messages_out": self.sent,
            "dropped": self.dropped,
            "late_bytes": self._late.bytes,
            "links_up": sum(port.up for port in self._ports.values()),
            "connections": sum(len(one.connections) for one in inboxes),
        }

    def close(self, linger_ms: int) -> None:
        """Closes all; what was sent may take `linger_ms` to leave. May be called again."""
        with self._closing:
            if self._epoll.closed:
                return
            self._epoll.close()
            os.close(self._wake_fd)
        self._context.destroy(linger=linger_ms)


def _connection_news(monitor: zmq.Socket[bytes] | None) -> list[News]:
    return [(event == zmq.EVENT_ACCEPTED, fd) for event, fd in monitor_events(monitor)]
