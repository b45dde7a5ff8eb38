"""Codec: headers in msgpack and JSON, and every hostile one as a HeaderError."""

from __future__ import annotations

import msgspec
import pytest

from shardmq.actors.protocol.codec import HeaderError, decode_header, encode_header
from shardmq.actors.protocol.frames import FLAG_JSON
from shardmq.actors.protocol.limits import HEADER_BYTES_MAX, REQUEST_QUEUES_MAX
from shardmq.actors.protocol.messages import Fetch, FetchQueue, Hello, Produce, RouteRequest

FETCH = Fetch(queues=[FetchQueue(queue=3, offset=9)], wait_ms=500)


@pytest.mark.parametrize("flags", [0, FLAG_JSON])
def test_what_is_encoded_is_decoded(flags: int) -> None:
    assert decode_header(encode_header(FETCH, flags), Fetch, flags) == FETCH


def test_defaults_are_left_out_and_come_back() -> None:
    assert encode_header(Hello()) == b"\x80"
    assert encode_header(Hello(), FLAG_JSON) == b"{}"
    assert decode_header(b"\x80", Hello) == Hello()


def test_unknown_keys_are_ignored() -> None:
    newer = msgspec.msgpack.encode({"client": "x", "from_the_future": [{"a": [1, 2]}]})
    assert decode_header(newer, Hello) == Hello(client="x")
    assert decode_header(b'{"client":"x","later":{"a":[null]}}', Hello, FLAG_JSON).client == "x"


def test_a_header_over_its_limit_is_refused_unread() -> None:
    with pytest.raises(HeaderError, match="1 over"):
        decode_header(bytes(HEADER_BYTES_MAX + 1), Hello)


HOSTILE: list[tuple[str, bytes, int]] = [
    ("nothing", b"", 0),
    ("nothing in JSON", b"", FLAG_JSON),
    ("an array", b"\x90", 0),
    ("a map without its entries", b"\xdf\xff\xff\xff\xff", 0),
    ("a string of 4 GiB", b"\x81\xa6client\xdb\xff\xff\xff\xff", 0),
    ("an unknown list of 4 G entries", b"\x81\xa1x\xdd\xff\xff\xff\xff", 0),
    ("deep nesting under an unknown key", b"\x81\xa1x" + b"\x91" * 500_000 + b"\xc0", 0),
    ("deep nesting in JSON", b'{"x":' + b"[" * 500_000, FLAG_JSON),
    ("invalid UTF-8", b"\x81\xa6client\xa2\xc3\x28", 0),
    ("a surrogate in UTF-8", b"\x81\xa6client\xa3\xed\xa0\x80", 0),
    ("a lone surrogate in JSON", b'{"client":"\\ud800"}', FLAG_JSON),
    ("invalid UTF-8 in JSON", b'{"client":"\xff"}', FLAG_JSON),
    ("a number of 5,000 digits", b'{"minor":' + b"9" * 5_000 + b"}", FLAG_JSON),
    ("a float for an integer", b'{"minor":1.5}', FLAG_JSON),
    ("true for an integer", b'{"minor":true}', FLAG_JSON),
    ("nil for an integer", b"\x81\xa5minor\xc0", 0),
    ("true for an integer in msgpack", b"\x81\xa5minor\xc3", 0),
    ("a negative number", b"\x81\xa5minor\xff", 0),
    ("bytes behind the map", b"\x80\x80", 0),
    ("JSON without its end", b'{"client":"x"', FLAG_JSON),
    ("a byte that msgpack never uses", b"\xc1", 0),
    ("msgpack that is said to be JSON", b"\x80", FLAG_JSON),
    ("JSON that is said to be msgpack", b"{}", 0),
]


@pytest.mark.parametrize(
    ("frame", "flags"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE]
)
def test_a_hostile_header_is_a_header_error(frame: bytes, flags: int) -> None:
    with pytest.raises(HeaderError) as caught:
        decode_header(frame, Hello, flags)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("offset", [-1, 1 << 63, (1 << 64) - 1])
def test_integers_stay_below_two_to_the_63(offset: int) -> None:
    fetch = {"queues": [{"queue": 1, "offset": offset}]}
    with pytest.raises(HeaderError, match="int"):
        decode_header(msgspec.msgpack.encode(fetch), Fetch)
    with pytest.raises(HeaderError, match="int"):
        decode_header(msgspec.json.encode(fetch), Fetch, FLAG_JSON)


def test_queue_numbers_are_32_bits_wide() -> None:
    fetch = {"queues": [{"queue": 1 << 32, "offset": 0}]}
    with pytest.raises(HeaderError, match="4294967295"):
        decode_header(msgspec.msgpack.encode(fetch), Fetch)


def test_a_request_names_no_more_queues_or_topics_than_the_limit() -> None:
    queue = {"queue": 1, "offset": 0}
    fetch = msgspec.msgpack.encode({"queues": [queue] * (REQUEST_QUEUES_MAX + 1)})
    with pytest.raises(HeaderError, match="4096"):
        decode_header(fetch, Fetch)
    with pytest.raises(HeaderError, match="1000"):
        decode_header(msgspec.msgpack.encode({"topics": ["t"] * 1_001}), RouteRequest)


def test_a_million_empty_messages_are_refused_before_they_are_made() -> None:
    messages = b"\xdd\x00\x0f\xff\x00" + b"\x80" * 0x0FFF00
    with pytest.raises(HeaderError, match="65536"):
        decode_header(b"\x81\xa8messages" + messages, Produce)


def test_an_ack_mode_is_one_of_three() -> None:
    with pytest.raises(HeaderError, match="ack"):
        decode_header(b'{"ack":"perhaps"}', Produce, FLAG_JSON)
