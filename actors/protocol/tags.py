"""Tag expressions: which messages of a topic a subscription selects.

`*` selects all messages, `paid || shipped` those with one of the tags. Owns the grammar and the one
canonical form, so that two members mean the same exactly if the canonical forms are equal. Knows no
batch: who filters asks `selects` once for each tag of a batch, not for each message.
"""

from __future__ import annotations

from .limits import EXPRESSION_CHARS_MAX, TAG_BYTES_MAX

__all__ = ["ALL", "TagFilter", "why_invalid_expression"]

ALL = "*"
_OR = "||"


def why_invalid_expression(expression: object) -> str | None:
    """The reason why `expression` is no tag expression, None if it is one."""
    if not isinstance(expression, str):
        return f"a tag expression is a string, not {type(expression).__name__}"
    if len(expression) > EXPRESSION_CHARS_MAX:
        over = len(expression) - EXPRESSION_CHARS_MAX
        return f"a tag expression has at most {EXPRESSION_CHARS_MAX} characters, {over} over"
    if expression.strip() in ("", ALL):
        return None
    for tag in expression.split(_OR):
        tag = tag.strip()
        if not tag:
            return f"a tag is missing beside a `{_OR}` in {expression[:80]!r}"
        if tag == ALL:
            return f"`{ALL}` stands alone, not among tags as in {expression[:80]!r}"
        if "|" in tag:
            return f"tags are joined by `{_OR}`, unlike {expression[:80]!r}"
        if len(tag.encode()) > TAG_BYTES_MAX:
            return f"a tag has at most {TAG_BYTES_MAX} bytes"
    return None


class TagFilter:
    """A parsed expression."""

    __slots__ = ("canonical", "tags")

    def __init__(self, expression: str) -> None:
        """
        Raises:
            ValueError: no tag expression; the text says why.
        """
        why = why_invalid_expression(expression)
        if why is not None:
            raise ValueError(why)
        text = expression.strip()
        self.tags: frozenset[str] | None = None
        """None: all messages, those without a tag included."""
        self.canonical = ALL
        if text not in ("", ALL):
            self.tags = frozenset(tag.strip() for tag in text.split(_OR))
            self.canonical = f" {_OR} ".join(sorted(self.tags))

    def selects(self, tag: str | None) -> bool:
        """True if messages with that tag (None: without one) are wanted."""
        return self.tags is None or tag in self.tags
