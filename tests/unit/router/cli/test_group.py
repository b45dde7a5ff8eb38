"""What `shardmq group` understands of its words; the rest is in tests/e2e/test_cli_group.py."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.client import GroupDescription
from shardmq.client.groups import GroupMember, GroupQueue
from shardmq.router.cli.errors import EXIT_USAGE, CliError
from shardmq.router.cli.group import _member_rows, _queue_rows, _record, _summary, _target


@pytest.mark.parametrize(
    ("to", "queues", "target"),
    [
        ("earliest", (), "earliest"),
        ("LATEST", (), "latest"),
        ("2013-01-31T08:00:00Z", (), 1_359_619_200.0),
        (None, (("3", "4711"), ("0", "0")), {3: 4711, 0: 0}),
    ],
)
def test_a_target_is_a_place_a_time_or_an_offset_for_each_queue(
    to: str | None, queues: tuple[tuple[str, str], ...], target: Any
) -> None:
    assert _target(to, queues) == target


@pytest.mark.parametrize(
    ("to", "queues"),
    [
        (None, ()),
        ("earliest", (("3", "1"),)),
        ("4711", ()),
        ("soon", ()),
        (None, (("3", "end"),)),
        (None, (("-1", "3"),)),
    ],
)
def test_anything_else_is_refused_with_what_to_write(
    to: str | None, queues: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(CliError) as refused:
        _target(to, queues)
    assert refused.value.status == EXIT_USAGE
    assert str(refused.value)


def described(model: str) -> GroupDescription:
    """A group with two members and two queues."""
    queues = [
        GroupQueue(
            topic="jobs", queue_id=queue_id, shard=0, owner="*" if "work" in model else "ann",
            committed=3, latest=9, lag=6, in_flight=queue_id, oldest_at=None,
            lag_seconds=61.26 * queue_id,
        )
        for queue_id in (1, 2)
    ]  # fmt: skip
    members = [GroupMember(name=name, queues=2, silent=0.44, lease=10.0) for name in ("ann", "bob")]
    return GroupDescription(
        name="g", model=model, strategy="sticky", subscriptions={"jobs": "*"}, members=members,
        queues=queues,
    )  # fmt: skip


@pytest.mark.parametrize("model", ["work", "work_fifo"])
def test_a_work_group_shows_what_is_in_flight_and_no_strategy(model: str) -> None:
    group = described(model)
    assert _summary(group) == {
        "name": "g", "model": model, "members": 2, "topics": ["jobs"], "queues": 2, "lag": 12,
        "lag_seconds": 122.5, "in_flight": 3,
    }  # fmt: skip
    record = _record(group)
    assert (record["model"], record["strategy"]) == (model, None)
    assert (record["lag"], record["lag_seconds"], record["in_flight"]) == (12, 122.5, 3)
    assert [row["lag_seconds"] for row in _queue_rows(group)] == [61.3, 122.5]
    assert [(row["owner"], row["in_flight"]) for row in _queue_rows(group)] == [("*", 1), ("*", 2)]
    assert [(row["member"], row["queues"]) for row in _member_rows(group)] == [
        ("ann", 2), ("bob", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("model", ["clustering", "broadcasting"])
def test_other_groups_hand_nothing_out_message_by_message(model: str) -> None:
    group = described(model)
    record = _record(group)
    assert (record["strategy"], record["in_flight"]) == ("sticky", None)
    assert _summary(group)["in_flight"] is None
    assert {row["in_flight"] for row in _queue_rows(group)} == {None}
