"""A ShardMQ client in 100 lines, pyzmq and json only. Resending stores a keyed message once."""

import argparse
import json
import os
import struct
import time
from collections.abc import Iterator
from typing import Any

import zmq

HELLO, ROUTE, TOPIC_CREATE, PRODUCE, FETCH, JSON, ANY_SHARD = 1, 10, 11, 20, 21, 2, 0xFFFFFFFF
OK, EXISTS, STALE, MOVED, NO_OFFSET, NO_SESSION, DAMAGED = 200, 409, 411, 412, 416, 440, 508
FRAME = struct.Struct("<3sBHHIQI")  # magic, major, verb, flags, shard, request id, ms left or code
Map = dict[str, Any]


class Refused(Exception):
    """The broker said no, and asking again would not help: (code, why)."""


class Client:
    def __init__(self, url: str, timeout_s: float = 30.0) -> None:
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(url)
        self.timeout_s, self.request_id, self.sequence = timeout_s, 0, 0
        self.producer_id = os.urandom(8).hex()

    def call(self, verb: int, header: Map, shard: int = ANY_SHARD, also_ok: int = OK) -> Map:
        """The reply's header. Whatever may be asked again is, until the timeout."""
        until = time.monotonic() + self.timeout_s
        while (left_s := until - time.monotonic()) > 0:
            code, reply = self.ask(verb, header, shard, min(left_s, 5.0))
            if code in (OK, also_ok):
                return reply
            if code == NO_SESSION:  # the first request, or libzmq has connected anew
                code, reply = self.ask(HELLO, {"client": "minimal"}, ANY_SHARD, min(left_s, 5.0))
            if code == MOVED:
                shard = reply["shard"]
            elif code not in (0, OK) and not reply.get("retryable"):
                raise Refused(code, f"{reply['name']}: {reply['message']} ({reply.get('hint')})")
            elif code not in (0, OK):
                time.sleep(min(left_s, reply.get("retry_after_ms", 200) / 1000))
        raise TimeoutError(f"no answer within {self.timeout_s} s; it may have been done")

    def ask(self, verb: int, header: Map, shard: int, wait_s: float) -> tuple[int, Map]:
        """One request, one answer: (code, header), or (0, {}) if none came in time."""
        self.request_id += 1
        until, wait_ms = time.monotonic() + wait_s, int(wait_s * 1000) + 1
        route = FRAME.pack(b"SMQ", 1, verb, JSON, shard, self.request_id, wait_ms)
        self.socket.send_multipart([route, json.dumps(header).encode()])
        while self.socket.poll(max(0, int((until - time.monotonic()) * 1000))):
            route, answer = self.socket.recv_multipart()
            *_, answered_id, code = FRAME.unpack(route)
            if answered_id == self.request_id:  # else it answers an earlier try
                return code, json.loads(answer)
        return 0, {}

    def produce(self, topic: str, body: str, key: str | None = None) -> Any:
        """Where the message was stored: {message_id, queue_id, offset}."""
        self.sequence += 1  # the same in every resend of a message, never of another
        header: Map = {"topic": topic, "messages": [{"body": body, "ordering_key": key}]}
        header |= {"producer_id": self.producer_id, "first_sequence": self.sequence}
        return self.call(PRODUCE, header)["messages"][0]

    def consume(self, topic: str, offsets: dict[int, int], quiet_s: float = 1e9) -> Iterator[Map]:
        """Messages until none came for `quiet_s`; `offsets` say where each queue goes on."""
        heard = time.monotonic()
        while time.monotonic() < heard + quiet_s:
            found = self.call(ROUTE, {"topics": [topic]})["topics"][0]  # each round: it may change
            if found.get("code", OK) != OK:
                raise Refused(found["code"], found["message"])
            rows = [row for row in found["route"]["queues"] if row.get("readable", True)]
            queues = [(row["shard"], row["number"]) for row in rows]
            for shard in {shard for shard, _ in queues}:
                mine = [{"queue": q, "offset": offsets.get(q, 0)} for s, q in queues if s == shard]
                reply = self.call(FETCH, {"queues": mine, "wait_ms": 250}, shard)
                for news in reply.get("queues", []):
                    queue, code = news["queue"], news.get("code", OK)
                    for message in news.get("messages", []):
                        offsets[queue], heard = message["offset"] + 1, time.monotonic()
                        yield message
                    if code in (OK, DAMAGED, NO_OFFSET):  # go on behind what is lost
                        offsets[queue] = max(news.get(to, 0) for to in ("next_offset", "earliest"))
                    elif code != STALE:
                        raise Refused(code, news.get("message"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="tcp://127.0.0.1:5680")
    parser.add_argument("topic", help="created if there is none; without bodies it is printed")
    parser.add_argument("body", nargs="*", help="sent, each with itself as the ordering key")
    given = parser.parse_args()
    (client := Client(given.url)).call(TOPIC_CREATE, {"topic": given.topic}, also_ok=EXISTS)
    sent = (client.produce(given.topic, body, key=body) for body in given.body)
    for line in sent if given.body else client.consume(given.topic, {}):
        print(json.dumps(line), flush=True)
