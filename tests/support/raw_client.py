"""A client made of a bare DEALER socket and the protocol: the broker as seen from outside."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, TypeVar

import msgspec
import zmq

from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.batch import Columns, encode_batch
from shardmq.actors.protocol.codec import decode_header, encode_header
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.codes import row_of as code_row
from shardmq.actors.protocol.frames import SHARD_ANY, pack_request, unpack_route
from shardmq.actors.protocol.verbs import Verb, row_of

__all__ = ["RawClient", "Refusal", "batch_of", "bodies_in"]

T = TypeVar("T", bound=m.Header)
RETRY_S = 0.02
_RECORD_PREFIX_BYTES = 64


class Refusal(Exception):
    """The broker said no."""

    def __init__(self, code: Code, error: m.ErrorReply) -> None:
        super().__init__(f"{code.name}: {error.message}")
        self.code = code
        self.error = error


class RawClient:
    """One connection. `call` is one request and its answer; `insist` repeats it as a client that
    follows the protocol does."""

    def __init__(self, url: str, *, timeout: float = 5.0, hello: bool = True) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 20)
        self._socket.connect(url)
        self._timeout = timeout
        self._request_id = 0
        self.codes_met: set[Code] = set()
        if hello:
            self.welcome = self.hello()

    def hello(self) -> m.Welcome:
        return self.call(Verb.HELLO, m.Hello(), m.Welcome)

    def send(
        self,
        verb: Verb,
        header: msgspec.Struct,
        *payload: bytes,
        shard: int = SHARD_ANY,
        timeout: float | None = None,
    ) -> int:
        """Sends a request and returns its id."""
        self._request_id += 1
        deadline_ms = int(1e3 * (timeout or self._timeout))
        route = pack_request(verb, self._request_id, deadline_ms, shard=shard)
        self._socket.send_multipart([route, encode_header(header), *payload])
        return self._request_id

    def receive(self, request_id: int, timeout: float | None = None) -> list[bytes]:
        """Frames of the answer to that request; others are dropped.

        Raises:
            TimeoutError: it did not come.
        """
        until = time.monotonic() + (timeout or self._timeout)
        while (left := until - time.monotonic()) > 0:
            if self._socket.poll(int(left * 1e3) + 1):
                frames = self._socket.recv_multipart()
                if unpack_route(frames[0]).request_id == request_id:
                    return frames
        raise TimeoutError(f"no answer to request {request_id}")

    def call_frames(
        self,
        verb: Verb,
        header: msgspec.Struct,
        *payload: bytes,
        shard: int = SHARD_ANY,
        timeout: float | None = None,
    ) -> list[bytes]:
        """Header and payload frames of a success.

        Raises:
            Refusal, TimeoutError: otherwise.
        """
        request_id = self.send(verb, header, *payload, shard=shard, timeout=timeout)
        frames = self.receive(request_id, timeout)
        code = Code(unpack_route(frames[0]).tail)
        if code != Code.OK:
            self.codes_met.add(code)
            raise Refusal(code, decode_header(frames[1], m.ErrorReply))
        return frames[1:]

    def call(
        self,
        verb: Verb,
        header: msgspec.Struct,
        kind: type[T],
        *payload: bytes,
        shard: int = SHARD_ANY,
        timeout: float | None = None,
    ) -> T:
        """The reply's header."""
        frames = self.call_frames(verb, header, *payload, shard=shard, timeout=timeout)
        return decode_header(frames[0], kind)

    def insist(self, verb: Verb, header: msgspec.Struct, *payload: bytes, **more: Any) -> Any:
        """The reply's header, however often that takes within the timeout; codes on the way are
        kept in `codes_met`."""
        until = time.monotonic() + self._timeout
        while True:
            try:
                row = row_of(verb)
                assert row is not None
                return self.call(verb, header, row.reply, *payload, timeout=0.5, **more)
            except TimeoutError:
                if time.monotonic() > until:
                    raise
            except Refusal as refusal:
                if not code_row(refusal.code).retryable or time.monotonic() > until:
                    raise
                if refusal.code == Code.UNKNOWN_SESSION:
                    self.hello()
                time.sleep(RETRY_S)

    # --- shorthands --------------------------------------------------------------------------

    def create_topic(self, topic: str, queues: int = 4) -> m.TopicRoute:
        wish = m.TopicCreate(topic=topic, queues=queues)
        return self.call(Verb.TOPIC_CREATE, wish, m.TopicReply).route

    def produce(self, queue: m.QueueRoute, body: bytes, sequence: int, **more: Any) -> int:
        """Stores one message, insisting, and returns its offset."""
        header = m.Produce(queues=[m.ProduceQueue(queue=queue.number)])
        reply = self.insist(
            Verb.PRODUCE, header, batch_of(body, sequence=sequence), shard=queue.shard, **more
        )
        result = reply.queues[0]
        if result.code != Code.OK:
            self.codes_met.add(Code(result.code))
            raise AssertionError(f"PRODUCE: {result}")
        return int(result.base_offset)

    def fetch(self, queue: m.QueueRoute, offset: int = 0, wait_ms: int = 0) -> list[bytes]:
        """Bodies of the messages of a queue from `offset` on."""
        header = m.Fetch(queues=[m.FetchQueue(queue=queue.number, offset=offset)], wait_ms=wait_ms)
        frames = self.call_frames(Verb.FETCH, header, shard=queue.shard)
        return [body for frame in frames[1:] for body in bodies_in(frame)]

    def close(self) -> None:
        self._context.destroy(linger=0)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def batch_of(*bodies: bytes, sequence: int = 0, producer_id: int = 7) -> bytes:
    """A record batch."""
    return encode_batch(
        Columns(bodies=list(bodies)),
        producer_id=producer_id,
        first_sequence=sequence,
        first_born_ms=1,
        last_born_ms=1,
    )


def bodies_in(records: bytes) -> list[bytes]:
    """The bodies in a FETCH reply's payload frame: records, one behind the other."""
    from shardmq.actors.protocol.batch import BatchView, read_batch_header

    found: list[bytes] = []
    at = 0
    while at < len(records):
        head = read_batch_header(records, at + _RECORD_PREFIX_BYTES)
        found += BatchView(records, head, at + _RECORD_PREFIX_BYTES).bodies()
        at += _RECORD_PREFIX_BYTES + head.length
    return found
