"""Selection: tags, and what was done already."""

from __future__ import annotations

from collections.abc import Sequence

from shardmq.actors.protocol.batch import BatchView, Columns, check_batch, encode_batch
from shardmq.actors.protocol.tags import TagFilter
from shardmq.client.consume.selection import Selection
from shardmq.client.received import Delivery, messages_of


def delivery(tags: Sequence[str | None] | None, base: int = 10) -> Delivery:
    bodies = [b"%d" % n for n in range(4)]
    batch = encode_batch(
        Columns(bodies, tags=tags), producer_id=1, first_sequence=0, first_born_ms=0,
        last_born_ms=0,
    )  # fmt: skip
    return Delivery("t", 0, base, 0, BatchView(batch, check_batch(batch)))


def chosen(selection: Selection, of: Delivery) -> list[bytes]:
    return [message.body for message in selection.of(of, messages_of(of, 0))]


def test_tags_choose_messages_of_a_batch() -> None:
    mixed = delivery(["a", "b", None, "a"])
    assert chosen(Selection(TagFilter("a")), mixed) == [b"0", b"3"]
    assert chosen(Selection(TagFilter("a || b")), mixed) == [b"0", b"1", b"3"]
    assert chosen(Selection(TagFilter("c")), mixed) == []
    assert len(chosen(Selection(TagFilter("*")), mixed)) == 4


def test_a_batch_of_wanted_tags_passes_whole_and_one_without_tags_not_at_all() -> None:
    assert len(chosen(Selection(TagFilter("a || b")), delivery(["a", "b", "b", "a"]))) == 4
    assert chosen(Selection(TagFilter("a")), delivery(None)) == []
    assert len(chosen(Selection(TagFilter("*")), delivery(None))) == 4


def test_what_is_done_above_the_floor_is_left_out_until_it_is_wanted_again() -> None:
    selection = Selection(TagFilter("*"), [(5, 6), (11, 13)])
    assert chosen(selection, delivery(None)) == [b"0", b"3"]
    assert len(chosen(selection, delivery(None, base=13))) == 4
    selection.again()
    assert len(chosen(selection, delivery(None))) == 4
