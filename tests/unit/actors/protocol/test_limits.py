"""Limits: the relations that other modules count on (the module asserts its own)."""

from __future__ import annotations

from shardmq.actors.protocol import limits
from shardmq.actors.protocol.batch import BATCH_HEADER_BYTES
from shardmq.actors.protocol.messages import Fetch, Limits, TopicList


def test_the_largest_message_with_all_its_metadata_fits_one_batch() -> None:
    strings = limits.KEYS_MAX * limits.KEY_BYTES_MAX + limits.ORDERING_KEY_BYTES_MAX
    strings += limits.TAG_BYTES_MAX + limits.PROPERTIES_BYTES_MAX
    # Each string may carry 5 bytes of msgpack; a property is a name and a value of 1 byte or more.
    overhead = 5 * (limits.KEYS_MAX + 10 + limits.PROPERTIES_BYTES_MAX)
    assert strings + overhead < limits.META_BYTES_MAX
    whole = BATCH_HEADER_BYTES + strings + overhead + limits.BODY_BYTES_MAX
    assert whole < limits.BATCH_BYTES_MAX


def test_the_largest_batch_fits_one_frame_as_a_record() -> None:
    assert limits.BATCH_BYTES_MAX + 64 <= limits.FRAME_BYTES_MAX


def test_the_largest_body_fits_a_json_reply_as_base64() -> None:
    metadata = 6 * (limits.KEYS_MAX * limits.KEY_BYTES_MAX + limits.PROPERTIES_BYTES_MAX)
    assert limits.BODY_BYTES_MAX * 4 / 3 + metadata + limits.MIB < limits.FRAME_BYTES_MAX


def test_defaults_of_headers_are_within_the_limits() -> None:
    assert Fetch(queues=[]).bytes_max == limits.REPLY_BYTES_MAX
    assert TopicList().count_max == limits.REQUEST_TOPICS_MAX


def test_every_limit_that_welcome_announces_exists_under_its_name() -> None:
    for name in Limits.__struct_fields__:
        assert getattr(limits, f"{name.upper()}_MAX") > 0
