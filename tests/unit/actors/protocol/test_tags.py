"""Tag expressions."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol.limits import EXPRESSION_CHARS_MAX
from shardmq.actors.protocol.tags import TagFilter, why_invalid_expression


@pytest.mark.parametrize("text", ["*", "", "  * "])
def test_a_star_or_nothing_selects_all_messages(text: str) -> None:
    everything = TagFilter(text)
    assert everything.selects("paid")
    assert everything.selects(None)
    assert everything.canonical == "*"


def test_tags_select_messages_with_one_of_them() -> None:
    some = TagFilter("paid || shipped")
    assert some.selects("paid")
    assert some.selects("shipped")
    assert not some.selects("open")
    assert not some.selects(None)


def test_the_canonical_form_does_not_depend_on_order_spaces_or_repetition() -> None:
    assert TagFilter("b||a||  b").canonical == TagFilter("a || b").canonical == "a || b"


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("a ||", "missing"),
        ("|| a", "missing"),
        ("a || *", "stands alone"),
        ("a | b", "joined by"),
        ("x" * (EXPRESSION_CHARS_MAX + 2), "2 over"),
        ("ä" * 513, "1024 bytes"),
        (7, "not int"),
    ],
)
def test_what_is_no_expression_is_told_why(expression: object, why: str) -> None:
    reason = why_invalid_expression(expression)
    assert reason is not None and why in reason
    if isinstance(expression, str):
        with pytest.raises(ValueError, match=why):
            TagFilter(expression)
