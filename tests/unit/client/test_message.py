"""Message: every limit is refused with which one and by how much; reprs are bounded."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.protocol.limits import BODY_BYTES_MAX, PROPERTIES_BYTES_MAX
from shardmq.client import Message, errors
from shardmq.client.message import check_message, is_plain, size_of


def test_the_largest_message_passes() -> None:
    check_message(Message("t" * 127, b"x" * BODY_BYTES_MAX, properties={"k": "v" * 32766}))


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Message("t", b"x" * (BODY_BYTES_MAX + 3)), "3 over"),
        (Message("t", b"x", properties={"k": "v" * PROPERTIES_BYTES_MAX}), "1 over"),
        (Message("t", b"x", keys=["k"] * 66), "2 over"),
        (Message("t", b"x", ordering_key="k" * 1025), "1 over"),
    ],
)
def test_over_a_limit_says_by_how_much(message: Message, text: str) -> None:
    with pytest.raises(errors.MessageTooLarge, match=text):
        check_message(message)


@pytest.mark.parametrize(
    "message",
    [
        Message("", b"x"),
        Message("a b", b"x"),
        Message("t", b""),
        Message("t", "text"),  # type: ignore[arg-type]
        Message("t", bytearray(b"x")),  # type: ignore[arg-type]
        Message("t", b"x", tag="a||b"),
        Message("t", b"x", keys="key"),
        Message("t", b"x", properties={"a": 1}),  # type: ignore[dict-item]
        Message(["t"], b"x"),  # type: ignore[arg-type]
        "message",
        None,
    ],
)
def test_what_no_broker_would_take_is_an_invalid_argument(message: Any) -> None:
    with pytest.raises(errors.InvalidArgument):
        check_message(message)


@pytest.mark.parametrize("extra", [{"delay": 3}, {"deliver_at": 0.0}, {"delay_level": 1}])
def test_delays_are_not_supported_yet(extra: dict[str, Any]) -> None:
    with pytest.raises(errors.NotSupported, match=next(iter(extra))):
        check_message(Message("t", b"x", **extra))


def test_a_repr_is_bounded_and_shows_no_property_values() -> None:
    message = Message("t", b"x" * 100_000, keys=["k" * 1000], properties={"password": "secret"})
    text = repr(message)
    assert len(text) < 400
    assert "password" in text
    assert "secret" not in text
    assert "(100000 bytes)" in text


def test_a_message_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Message("t", b"x").topic = "u"  # type: ignore[misc]


def test_sizes_are_never_below_what_is_encoded() -> None:
    message = Message("t", b"x", tag="é" * 10, keys=["ü"], properties={"ä": "ö"}, ordering_key="k")
    texts = "é" * 10 + "ü" + "ä" + "ö" + "k"
    assert size_of(message) >= 1 + len(texts.encode())


def test_a_plain_message_has_a_sound_body_and_nothing_else() -> None:
    assert is_plain(Message("t", b"x"))
    for other in (
        Message("t", b""),
        Message("t", b"x" * (BODY_BYTES_MAX + 1)),
        Message("t", b"x", tag="a"),
        Message("t", b"x", keys=["k"]),
        Message("t", b"x", properties={"a": "b"}),
        Message("t", b"x", ordering_key="k"),
        Message("t", b"x", delay=1),
        "no message",
    ):
        assert not is_plain(other)
