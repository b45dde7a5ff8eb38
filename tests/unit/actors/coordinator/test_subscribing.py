"""Subscription rules: one group, one subscription, and who differs is told how."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.actors.coordinator.division import MEMBER_QUEUES_MAX
from shardmq.actors.coordinator.records import Group
from shardmq.actors.coordinator.subscribing import (
    MEMBER_CHARS_MAX,
    check_join,
    check_queues,
    group_after,
    lease_of,
    own_topics,
    subscriptions_of,
)
from shardmq.actors.coordinator.topics import Refused
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.group_messages import GroupJoin, Start, Subscription
from shardmq.actors.protocol.limits import LEASE_MS


def wish(*topics: str, **fields: Any) -> GroupJoin:
    subscriptions = []
    for one in topics or ("orders",):
        topic, _, expression = one.partition(":")
        subscriptions.append(Subscription(topic=topic, expression=expression or "*"))
    return GroupJoin(**{"group": "g", "member": "m", "subscriptions": subscriptions, **fields})


def after(asked: GroupJoin, known: Group | None = None, *others: str, queue_max: int = 0) -> Group:
    return group_after(asked, known, others, group_id=7, queue_max=queue_max, now_wall_ms=1)


def refused(asked: GroupJoin, known: Group | None = None, *others: str) -> Refused:
    try:
        check_join(asked)
        after(asked, known, *others)
    except Refused as error:
        return error
    raise AssertionError("nothing was refused")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"group": "no spaces"}, Code.INVALID_NAME),
        ({"group": "%SYS%x"}, Code.INVALID_NAME),
        ({"member": ""}, Code.INVALID_NAME),
        ({"member": "m" * (MEMBER_CHARS_MAX + 1)}, Code.INVALID_NAME),
        ({"member": "line\nbreak"}, Code.INVALID_NAME),
        ({"member": "*"}, Code.INVALID_ARGUMENT),
        ({"member": "*", "model": "work"}, Code.INVALID_ARGUMENT),
        ({"subscriptions": []}, Code.INVALID_ARGUMENT),
        ({"subscriptions": [Subscription(topic="a b")]}, Code.INVALID_NAME),
        ({"subscriptions": [Subscription(topic="a", expression="x ||")]}, Code.INVALID_ARGUMENT),
        ({"subscriptions": [Subscription(topic="a")] * 2}, Code.INVALID_ARGUMENT),
        ({"lease_ms": 10}, Code.INVALID_ARGUMENT),
        ({"model": "broadcasting", "retries": True}, Code.INVALID_ARGUMENT),
        (
            {"retries": True, "subscriptions": [Subscription(topic="%RETRY%g")]},
            Code.INVALID_ARGUMENT,
        ),
    ],
)
def test_what_no_member_may_wish(fields: dict[str, Any], code: Code) -> None:
    assert refused(wish(**fields)).code == code


def test_a_new_group_is_as_its_first_member_wants_it() -> None:
    asked = wish("b: x||a", "a", start=Start(at="time", time_ms=5), lease_ms=2_000)
    group = after(asked, queue_max=9)
    assert [(one.topic, one.expression, one.queue_max) for one in group.topics] == [
        ("a", "*", 9),
        ("b", "a || x", 9),
    ]
    assert (group.start.at, group.start.time_ms, group.lease_ms) == ("time", 5, 2_000)
    assert (group.group_id, group.model, group.strategy) == (7, "clustering", "sticky")
    assert lease_of(wish()) == LEASE_MS


def test_the_same_wish_changes_nothing() -> None:
    group = after(wish("orders:a||b"), queue_max=9)
    assert after(wish("orders: b || a"), group, queue_max=50) == group
    assert after(wish("orders: b || a"), group, "other", queue_max=50) == group


def test_others_decide_the_start_and_the_longest_lease_counts() -> None:
    group = after(wish(start=Start(at="earliest"), lease_ms=5_000))
    joined = after(wish(lease_ms=8_000), group, "other")
    assert (joined.start.at, joined.lease_ms) == ("earliest", 8_000)
    assert after(wish(lease_ms=2_000), joined, "other") == joined
    assert after(wish(lease_ms=2_000), joined).lease_ms == 2_000


def test_differences_are_said_topic_by_topic() -> None:
    group = after(wish("a:x", "b"))
    error = refused(wish("a:y", "c"), group, "zoe", "amy")
    assert error.code == Code.SUBSCRIPTION_CONFLICT
    text = str(error)
    for part in ("the member amy", "a: `x` there, `y` here", "b: `*` there, nothing here"):
        assert part in text
    assert "c: nothing there, `*` here" in text


@pytest.mark.parametrize("fields", [{"model": "broadcasting"}, {"strategy": "hash"}])
def test_members_agree_on_model_and_strategy(fields: dict[str, Any]) -> None:
    group = after(wish(strategy="average"))
    error = refused(wish(**fields), group, "other")
    assert (error.code, "member other" in str(error)) == (Code.SUBSCRIPTION_CONFLICT, True)
    assert after(wish(), group, "other").strategy == "average", "who names none takes what is"
    changed = after(wish(**fields), group)
    assert (changed.model, changed.strategy) == (
        fields.get("model", "clustering"),
        fields.get("strategy", "average"),
    )


def test_a_topic_that_stays_keeps_the_moment_of_its_subscription() -> None:
    group = after(wish("a"), queue_max=5)
    changed = after(wish("a", "b"), group, queue_max=9)
    assert [(one.topic, one.queue_max) for one in changed.topics] == [("a", 5), ("b", 9)]


def test_an_expression_has_the_revision_with_which_it_came() -> None:
    def revisions(group: Group) -> list[int]:
        return [group.revision, *(one.revision for one in group.topics)]

    group = after(wish("a:x", "b"))
    assert revisions(group) == [0, 0, 0]
    group = after(wish("a:y", "b"), group)
    assert revisions(group) == [1, 1, 0]
    assert after(wish("b", "a:y"), group) == group
    group = after(wish("b"), group)
    assert revisions(group) == [2, 0]
    assert revisions(after(wish("a:y", "b"), group)) == [3, 3, 0]


def test_retries_are_the_groups_as_long_as_somebody_is_there() -> None:
    group = after(wish(retries=True))
    assert [one.topic for one in group.topics] == ["%RETRY%g", "orders"]
    assert [one.topic for one in subscriptions_of(group)] == ["orders"]
    assert after(wish(), group, "other") == group
    assert not after(wish(), group).retries
    assert after(wish(retries=True), after(wish()), "other").retries


@pytest.mark.parametrize("model", ["work", "work_fifo"])
def test_a_work_group_has_dead_letters_and_no_retry_topic(model: str) -> None:
    asked = wish(retries=True, model=model)
    group = after(asked)
    assert [one.topic for one in group.topics] == ["orders"]
    assert group.retries
    assert after(wish(model=model), group, "other") == group
    assert (own_topics(asked), own_topics(wish(model=model))) == (["%DLQ%g"], [])
    assert own_topics(wish(retries=True)) == ["%RETRY%g", "%DLQ%g"]


def test_a_work_group_may_read_what_an_earlier_model_left_in_its_retry_topic() -> None:
    asked = wish("%RETRY%g", "orders", model="work", retries=True)
    check_join(asked)
    group = after(asked)
    assert [one.topic for one in subscriptions_of(group)] == ["%RETRY%g", "orders"]
    assert after(asked, group, "other") == group


def test_the_strategy_means_nothing_in_a_work_group() -> None:
    group = after(wish(model="work", strategy="hash"))
    assert group.strategy == "sticky"
    assert after(wish(model="work", strategy="average"), group, "other") == group
    divided = after(wish(strategy="circle"))
    assert after(wish(model="work", strategy="average"), divided).strategy == "circle"


def test_members_of_a_work_group_agree_on_its_model_and_subscriptions() -> None:
    group = after(wish("orders: a || b", model="work"))
    for model in ("clustering", "broadcasting", "work_fifo"):
        error = refused(wish("orders: a || b", model=model), group, "zoe")
        assert error.code == Code.SUBSCRIPTION_CONFLICT
        assert f"g is work, as its member zoe wants it, not {model}" in str(error)
    error = refused(wish(model="work"), group, "zoe")
    assert "orders: `a || b` there, `*` here" in str(error)
    assert after(wish(model="work_fifo"), group).model == "work_fifo", "with nobody else there"


def test_all_queues_of_a_work_group_fit_in_one_answer() -> None:
    check_queues(wish(), MEMBER_QUEUES_MAX + 1)
    check_queues(wish(model="work"), MEMBER_QUEUES_MAX)
    with pytest.raises(Refused, match=f"at most {MEMBER_QUEUES_MAX}") as error:
        check_queues(wish(model="work_fifo"), MEMBER_QUEUES_MAX + 1)
    assert error.value.code == Code.INVALID_ARGUMENT
