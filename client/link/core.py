"""ClientCore: session, requests and retries of one connection, without any I/O.

Owns the state of the session and the table of calls. Must not know what the calls are for, nor
sockets, threads or event loops: a driver feeds it (`connected`, `receive`, `tick`) and sends what
lies in `outbox`.

    state      connected   HELLO refused   WELCOME   UNKNOWN_SESSION   disconnected
    DOWN       GREETING    -               -         -                 -
    GREETING   GREETING    REFUSED         READY     -                 DOWN
    READY      GREETING    -               -         GREETING          DOWN
    REFUSED    GREETING    -               -         -                 DOWN

Calls leave only in READY; until then they wait, each with its own deadline. libzmq reconnects
silently: the driver reports it where it can, and UNKNOWN_SESSION covers what it did not see.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from functools import partial
from math import inf
from typing import Any

from shardmq.actors.kernel.ports import Now, Randomness
from shardmq.actors.protocol.codec import HeaderError, decode_header, encode_header
from shardmq.actors.protocol.codes import Code, row_of
from shardmq.actors.protocol.frames import (
    FLAG_REPLY,
    SHARD_ROUTER,
    FrameError,
    pack_request,
    unpack_route,
)
from shardmq.actors.protocol.limits import DEADLINE_MS_MAX, HEARTBEAT_MS, SESSION_BYTES_MAX
from shardmq.actors.protocol.messages import Hello, Ping, Welcome
from shardmq.actors.protocol.verbs import Verb

from .calls import Call, Reply, back_off_ms, may_resend
from .timers import Timers

__all__ = ["ClientCore", "Event", "State"]

HELLO_TIMEOUT_MS = 1_000.0
_OK = int(Code.OK)


class State(Enum):
    """Of the session."""

    DOWN = "no connection"
    GREETING = "HELLO is on its way"
    READY = "requests may leave"
    REFUSED = "the broker refused HELLO"


class Event(Enum):
    """What moves the session."""

    CONNECTED = "connected"
    WELCOMED = "WELCOME came"
    REFUSED = "HELLO was refused for good"
    FORGOTTEN = "the broker does not know the session"
    DISCONNECTED = "disconnected"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.DOWN, Event.CONNECTED): State.GREETING,
    (State.GREETING, Event.CONNECTED): State.GREETING,
    (State.READY, Event.CONNECTED): State.GREETING,
    (State.REFUSED, Event.CONNECTED): State.GREETING,
    (State.GREETING, Event.WELCOMED): State.READY,
    (State.GREETING, Event.REFUSED): State.REFUSED,
    (State.READY, Event.FORGOTTEN): State.GREETING,
    (State.GREETING, Event.DISCONNECTED): State.DOWN,
    (State.READY, Event.DISCONNECTED): State.DOWN,
    (State.REFUSED, Event.DISCONNECTED): State.DOWN,
}
"""An event without a row changes nothing: it is late news of an older connection."""


class ClientCore:
    """The pure part of a connection."""

    def __init__(self, randomness: Randomness, *, client: str, version: str) -> None:
        self.state = State.DOWN
        self.away_since_ms = -inf
        """Since when there is no session (monotonic); infinity while there is one."""
        self.outbox: deque[list[bytes]] = deque()
        """Frames to send, in order."""
        self.timers = Timers()
        """For the parts that share this connection, too."""
        self.welcome: Welcome | None = None
        self.in_flight_bytes = 0
        self.malformed = 0
        """Replies that could not be read, counted and dropped."""
        self.members: dict[tuple[str, str], Any] = {}
        """Who is which member of which group: a broker cannot tell two of one connection apart."""
        self.randomness = randomness
        self._hello = Hello(client=client, version=version, language="python")
        self.calls: dict[int, Call] = {}
        """In flight or waiting for a session, by request id."""
        self._unsent: deque[Call] = deque()
        self._last_id = randomness.u64() >> 2
        self._hello_id = 0
        self._hello_attempts = 0
        self._last_sent_ms = 0.0
        self._beating = False
        self._refusal: Reply | None = None

    # ------------------------------------------------------------------------ what callers do

    def submit(self, call: Call, now: Now) -> None:
        """Sends `call` as soon as the session allows; its `done(reply, now)` is called once."""
        self._last_id += 1
        call.request_id = self._last_id
        self.calls[call.request_id] = call
        payload = call.payload
        body_bytes = len(payload[0]) if len(payload) == 1 else sum(map(len, payload))
        call.bytes = len(call.header) + body_bytes
        self.in_flight_bytes += call.bytes
        refusal = self._refusal
        if refusal is not None:
            # Not at once: whoever submits is not ready for the answer yet.
            self.timers.at(now.mono_ms, lambda now: self._finish(call, refusal, now))
        elif self.state is State.READY:
            self._send(call, now)
        else:
            self._unsent.append(call)
            self._arm(call, call.deadline_ms)

    def replace(self, call: Call, header: bytes, now: Now) -> None:
        """Changes what a parked call asks for: the broker drops the older one of the same id."""
        assert call.request_id in self.calls, "only a call in flight can be replaced"
        call.header = header
        if call.sent and self.state is State.READY:
            self._send(call, now)

    def send_no_more(self, call: Call, now: Now) -> None:
        """Whatever was not sent by now is not sent any more."""
        call.deadline_ms = min(call.deadline_ms, now.mono_ms)

    def forget(self, call: Call) -> None:
        """Drops a call: its answer will be ignored."""
        if self.calls.pop(call.request_id, None) is not None:
            self._release(call)

    @property
    def credit_bytes(self) -> int:
        """Bytes that may still be submitted before the broker would answer BUSY."""
        bound = self.welcome.limits.session_bytes if self.welcome else SESSION_BYTES_MAX
        return bound - self.in_flight_bytes

    # ------------------------------------------------------------------------ what drivers do

    @property
    def expects(self) -> bool:
        """True while an answer may come, or frames wait to leave."""
        return bool(self.calls or self.outbox or self._hello_id)

    @property
    def wake_at_ms(self) -> float | None:
        """When `tick` is due; None for never."""
        return self.timers.wake_at_ms

    def tick(self, now: Now) -> None:
        """Runs what is due."""
        self.timers.run(now)

    def connected(self, now: Now) -> None:
        """The transport is up, for the first time or again: any session before is gone."""
        if self._move(Event.CONNECTED, now):
            self._refusal = None
            self._hello_attempts = 0
            self._give_up_sent()
            self._greet(now)

    def disconnected(self, now: Now) -> None:
        """The transport is down: what was in flight may or may not have happened."""
        if self._move(Event.DISCONNECTED, now):
            self._hello_id = 0
            self._refusal = None
            self.outbox.clear()
            self._give_up_sent()

    def receive(self, frames: list[bytes], now: Now) -> None:
        """One reply. What is malformed, late or unasked for is dropped."""
        try:
            verb, flags, _, request_id, code = unpack_route(frames[0])
            header = frames[1]
        except (FrameError, IndexError):
            self.malformed += 1
            return
        if not flags & FLAG_REPLY:
            self.malformed += 1
        elif request_id == self._hello_id and self._hello_id:
            self._greeted(Reply(code, header, [], unknown=False, sent=True), now)
        else:
            call = self.calls.get(request_id)
            if call is not None and call.verb == verb:
                self._answered(call, code, header, frames[2:], now)

    # ------------------------------------------------------------------------------- session

    def _move(self, event: Event, now: Now) -> bool:
        after = TRANSITIONS.get((self.state, event))
        if after is None:
            return False
        if after is State.READY:
            self.away_since_ms = inf
        elif self.state is State.READY:
            self.away_since_ms = now.mono_ms
        self.state = after
        return True

    def _greet(self, now: Now) -> None:
        self._last_id += 1
        self._hello_id = hello_id = self._last_id
        self._hello_attempts += 1
        route = pack_request(Verb.HELLO, hello_id, int(HELLO_TIMEOUT_MS), shard=SHARD_ROUTER)
        self._last_sent_ms = now.mono_ms
        self.outbox.append([route, encode_header(self._hello)])

        def again(now: Now) -> None:
            if self._hello_id == hello_id and self.state is State.GREETING:
                self._greet(now)

        self.timers.at(now.mono_ms + HELLO_TIMEOUT_MS, again)

    def _greeted(self, reply: Reply, now: Now) -> None:
        self._hello_id = 0
        if reply.code == Code.OK:
            try:
                self.welcome = decode_header(reply.header, Welcome)
            except HeaderError:
                self.malformed += 1
                return
            if self._move(Event.WELCOMED, now):
                self._beat(now)
                waiting, self._unsent = self._unsent, deque()
                for call in waiting:
                    if call.request_id in self.calls:
                        self._send(call, now)
        elif may_resend(reply.code):
            wait_ms = self._back_off_ms(self._hello_attempts, reply)
            self.timers.at(now.mono_ms + wait_ms, self._greet_again)
        elif self._move(Event.REFUSED, now):
            self._refusal = reply
            for call in list(self.calls.values()):
                self._finish(call, reply._replace(unknown=call.unknown), now)
            self._unsent.clear()

    def _greet_again(self, now: Now) -> None:
        if self.state is State.GREETING and not self._hello_id:
            self._greet(now)

    def _beat(self, now: Now) -> None:
        if not self._beating:
            self._beating = True
            self.timers.at(now.mono_ms + self._heartbeat_ms, self._heartbeat)

    def _heartbeat(self, now: Now) -> None:
        self._beating = False
        if self.state is not State.READY:
            return
        quiet_until = self._last_sent_ms + self._heartbeat_ms
        if now.mono_ms >= quiet_until:
            deadline_ms = now.mono_ms + self._heartbeat_ms
            header = encode_header(Ping())
            self.submit(
                Call(Verb.PING, header, _ignored, deadline_ms=deadline_ms, shard=SHARD_ROUTER), now
            )
            quiet_until = now.mono_ms + self._heartbeat_ms
        self._beating = True
        self.timers.at(quiet_until, self._heartbeat)

    @property
    def _heartbeat_ms(self) -> int:
        return self.welcome.heartbeat_ms if self.welcome else HEARTBEAT_MS

    # --------------------------------------------------------------------------------- calls

    def _send(self, call: Call, now: Now) -> None:
        left_ms = call.deadline_ms - now.mono_ms
        if left_ms <= 0:
            self._expire(call, now)
            return
        call.attempts += 1
        call.sent = True
        budget_ms = int(left_ms) + 1 if left_ms < DEADLINE_MS_MAX else DEADLINE_MS_MAX
        route = pack_request(call.verb, call.request_id, budget_ms, shard=call.shard)
        self._last_sent_ms = now.mono_ms
        self.outbox.append([route, call.header, *call.payload])
        again_ms = now.mono_ms + call.attempt_timeout_ms()
        self._arm(call, again_ms if again_ms < call.deadline_ms else call.deadline_ms)

    def _arm(self, call: Call, due_ms: float) -> None:
        if call.timer is not None:
            call.timer.cancel()
        call.timer = self.timers.at(due_ms, partial(self._due, call))

    def _due(self, call: Call, now: Now) -> None:
        call.timer = None
        if now.mono_ms >= call.deadline_ms:
            self._expire(call, now)
        elif self.state is State.READY:
            if call.sent:
                call.unknown = True
            self._send(call, now)
        else:
            self._arm(call, call.deadline_ms)

    def _expire(self, call: Call, now: Now) -> None:
        unknown = call.unknown or call.sent
        self._finish(call, Reply(Code.TIMED_OUT, b"", [], unknown, unknown), now)

    def _answered(
        self, call: Call, code: int, header: bytes, payload: list[bytes], now: Now
    ) -> None:
        reply = Reply(code, header, payload, call.unknown, sent=True)
        if code == _OK:
            self._finish(call, reply, now)
        elif code == Code.UNKNOWN_SESSION:
            self._wait_for_session(call, now)
        else:
            call.sent = False
            if row_of(code).stored == "unknown":
                call.unknown = True
            wait_ms = self._back_off_ms(call.attempts, reply)
            if may_resend(code) and now.mono_ms + wait_ms < call.deadline_ms:
                self._arm(call, now.mono_ms + wait_ms)
            else:
                self._finish(call, reply._replace(unknown=call.unknown), now)

    def _wait_for_session(self, call: Call, now: Now) -> None:
        if not call.sent:
            return  # what an older connection left behind; the call waits already
        call.sent = False
        self._arm(call, call.deadline_ms)
        self._unsent.append(call)
        if self._move(Event.FORGOTTEN, now):
            self._hello_attempts = 0
            self._greet(now)

    def _give_up_sent(self) -> None:
        """After a lost connection everything waits for the next session, oldest first."""
        for call in self.calls.values():
            if call.sent:
                call.sent = False
                call.unknown = True
            self._arm(call, call.deadline_ms)
        self._unsent = deque(self.calls.values())

    def _finish(self, call: Call, reply: Reply, now: Now) -> None:
        if self.calls.pop(call.request_id, None) is not None:
            self._release(call)
            call.done(reply, now)

    def _release(self, call: Call) -> None:
        self.in_flight_bytes -= call.bytes
        call.payload = []
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None

    def _back_off_ms(self, attempts: int, reply: Reply) -> float:
        jitter = self.randomness.uniform(0.5, 1.5)
        return back_off_ms(attempts, reply.error().retry_after_ms, jitter)

    def figures(self) -> dict[str, Any]:
        """For people who look for a fault."""
        return {
            "state": self.state.name,
            "calls": len(self.calls),
            "in_flight_bytes": self.in_flight_bytes,
            "malformed": self.malformed,
        }


def _ignored(reply: Reply, now: Now) -> None:
    del reply, now
