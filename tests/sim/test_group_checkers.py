"""Each group checker sees a history that breaks its promise, and passes one that does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shardmq.actors.protocol.group_messages import GroupDescription, MemberInfo, QueueOwner
from shardmq.shards.log.record import STATE, LogRecord
from shardmq.shards.state.records import Scheduled, ScheduledEntry, encode_state
from shardmq.shards.state.schedule import RETRY
from sim.cursor_log import Began
from sim.group_checkers import check_groups, lopsided
from sim.group_history import (
    Accepted,
    Delivery,
    Fetched,
    Group,
    GroupHistory,
    Promise,
    Seen,
    Shown,
    floor_of,
    ranges_of,
    set_of,
)
from sim.history import QueueLog, Stored
from sim.run import Run
from sim.swarm import Plan

Logs = dict[int, QueueLog]
TOPICS = {1: "t"}
TAGS = ["a", "b", "a", None, "a", "a"]


def honest() -> tuple[GroupHistory, Logs]:
    """Six messages, of which a group wants four; one member acks two of them and leaves, the next
    one takes the rest."""
    groups = GroupHistory()
    groups.groups["g"] = Group("g", {"t": "a"})
    stored = [
        Stored(at, f"body {at}".encode(), f"id-{at}", 7, at, None, tag, 100 + at)
        for at, tag in enumerate(TAGS)
    ]  # fmt: skip
    groups.shown += [Shown("g", 1, 1, "m1", 0.0, 1.0), Shown("g", 1, 2, "m2", 20.0, 21.0)]
    groups.seen.append(Seen("g", 1, 1, 2.0, 3.0, 0, 0, 6, 4, 100))
    groups.fetched.append(Fetched("g", 1, 0, 6, 0b110111))
    groups.accepted.append(Accepted("g", 1, 1, "m1", 4.0, 5.0))
    for offset in (0, 2, 4):
        one = stored[offset]
        groups.deliveries.append(
            Delivery("g", 1, 1, "p1", offset, one.body, one.message_id, "a", 1.0, 5.0)
        )
    groups.accepted.append(Accepted("g", 1, 1, "m1", 6.0, 7.0))
    groups.promises.append(Promise("g", 1, 6.0, 7.0, 0b001111))
    groups.seen.append(Seen("g", 1, 2, 22.0, 23.0, 0b001111, 0, 6, 2, 104))
    groups.fetched.append(Fetched("g", 1, 4, 6, 0b110000))
    groups.accepted.append(Accepted("g", 1, 2, "m2", 24.0, 25.0))
    for offset in (4, 5):
        one = stored[offset]
        groups.deliveries.append(
            Delivery("g", 1, 2, "p2", offset, one.body, one.message_id, "a", 21.0, 25.0)
        )
    groups.promises.append(Promise("g", 1, 26.0, 27.0, 0b111111))
    groups.seen.append(Seen("g", 1, 2, 28.0, 29.0, 0b111111, 0, 6, 0, 0))
    return groups, {1: QueueLog(0, 6, stored)}


Doctor = Callable[[GroupHistory, Logs], None]
DOCTORS: dict[str, tuple[str, Doctor]] = {}


def doctored(rule: str) -> Callable[[Doctor], Doctor]:
    """Registers a lie, and the rule that it breaks."""

    def register(doctor: Doctor) -> Doctor:
        DOCTORS[doctor.__name__] = rule, doctor
        return doctor

    return register


@doctored("overtaken")
def a_stopped_member_fetches_behind_its_successor(groups: GroupHistory, logs: Logs) -> None:
    groups.accepted.append(Accepted("g", 1, 1, "m1", 26.0, 27.0))


@doctored("shared")
def two_members_have_one_generation(groups: GroupHistory, logs: Logs) -> None:
    groups.shown[1] = groups.shown[1]._replace(generation=1)


@doctored("shared")
def generations_fall(groups: GroupHistory, logs: Logs) -> None:
    groups.shown.append(Shown("g", 1, 1, "m1", 30.0, 31.0))


@doctored("displaced")
def a_member_is_told_that_somebody_has_its_name(groups: GroupHistory, logs: Logs) -> None:
    groups.displaced.append(("g", "m1", 5.0))


@doctored("forgotten")
def an_ack_is_not_in_the_cursor(groups: GroupHistory, logs: Logs) -> None:
    groups.seen[1] = groups.seen[1]._replace(done=0b000111)


@doctored("forgotten")
def what_was_acked_is_handed_out_again(groups: GroupHistory, logs: Logs) -> None:
    again = groups.deliveries[1]._replace(generation=2, process="p2", since_ms=21.0, at_ms=25.0)
    groups.deliveries.insert(3, again)


@doctored("back")
def a_cursor_went_back(groups: GroupHistory, logs: Logs) -> None:
    groups.promises.clear()
    groups.seen.append(groups.seen[1]._replace(asked_ms=40.0, answered_ms=41.0))


@doctored("undelivered")
def a_message_was_acked_by_nobody_who_had_it(groups: GroupHistory, logs: Logs) -> None:
    del groups.deliveries[-1]


@doctored("undelivered")
def a_message_is_not_done_at_the_end(groups: GroupHistory, logs: Logs) -> None:
    groups.promises.pop()
    groups.seen[-1] = groups.seen[-1]._replace(done=0b011111, lag=1, oldest_at_ms=105)


@doctored("sifted")
def a_fetch_passed_over_a_wanted_message(groups: GroupHistory, logs: Logs) -> None:
    groups.fetched[0] = groups.fetched[0]._replace(found=0b110011)


@doctored("disordered")
def a_holder_was_handed_messages_out_of_order(groups: GroupHistory, logs: Logs) -> None:
    groups.deliveries[0], groups.deliveries[1] = groups.deliveries[1], groups.deliveries[0]


@doctored("strange")
def a_member_was_handed_another_message(groups: GroupHistory, logs: Logs) -> None:
    groups.deliveries[0] = groups.deliveries[0]._replace(body=b"nobody's")


@doctored("strange")
def a_member_was_handed_what_is_not_there(groups: GroupHistory, logs: Logs) -> None:
    groups.deliveries.append(groups.deliveries[-1]._replace(offset=6))


@doctored("lag")
def the_lag_counts_what_is_not_wanted(groups: GroupHistory, logs: Logs) -> None:
    groups.seen[0] = groups.seen[0]._replace(lag=6)


@doctored("lag")
def the_oldest_is_another(groups: GroupHistory, logs: Logs) -> None:
    groups.seen[1] = groups.seen[1]._replace(oldest_at_ms=105)


def test_an_honest_history_breaks_nothing() -> None:
    assert check_groups(*honest(), TOPICS) == []


@pytest.mark.parametrize("name", DOCTORS)
def test_a_doctored_history_is_seen(name: str) -> None:
    rule, doctor = DOCTORS[name]
    groups, logs = honest()
    doctor(groups, logs)
    assert rule in {one.rule for one in check_groups(groups, logs, TOPICS)}


def test_a_reset_takes_acks_back_and_everything_behind_it_comes_again() -> None:
    groups, logs = honest()
    log = groups.cursors[0, 1]
    log.resets, log.began = [3], {1: Began(0, 1.0), 3: Began(2, 31.0)}
    groups.seen.append(Seen("g", 1, 3, 32.0, 33.0, 0b11, 0, 6, 3, 102))
    for delivery in (groups.deliveries[1], groups.deliveries[3], groups.deliveries[4]):
        again = delivery._replace(generation=3, process="p3", since_ms=32.0, at_ms=34.0)
        groups.deliveries.append(again)
    groups.seen.append(Seen("g", 1, 3, 35.0, 36.0, 0b111111, 0, 6, 0, 0))
    assert check_groups(groups, logs, TOPICS) == []
    groups.deliveries.pop()
    assert [one.rule for one in check_groups(groups, logs, TOPICS)] == ["undelivered"]


def test_what_was_acked_behind_a_reset_stays_acked() -> None:
    groups, logs = honest()
    groups.cursors[0, 1].resets, groups.cursors[0, 1].began = [2], {2: Began(4, 21.0)}
    groups.promises[1] = groups.promises[1]._replace(generation=2)
    assert check_groups(groups, logs, TOPICS) == []
    groups.seen.append(
        groups.seen[-1]._replace(
            generation=3, asked_ms=40.0, answered_ms=41.0, done=0b001111, lag=2, oldest_at_ms=104
        )
    )
    rules = {one.rule for one in check_groups(groups, logs, TOPICS)}
    assert rules == {"forgotten", "back", "undelivered"}


def test_a_shard_that_died_may_forget_what_was_never_promised() -> None:
    groups, logs = honest()
    groups.promises.clear()
    groups.seen.insert(2, groups.seen[0]._replace(asked_ms=24.0, answered_ms=25.0))
    assert [one.rule for one in check_groups(groups, logs, TOPICS)] == ["back"]
    groups.ends_of_shards.append(23.5)
    assert check_groups(groups, logs, TOPICS) == []


def test_what_retention_took_need_not_be_handed_out() -> None:
    groups, logs = honest()
    del groups.deliveries[0]
    logs[1] = QueueLog(1, 6, logs[1].messages[1:])
    assert check_groups(groups, logs, TOPICS) == []


def test_a_group_that_begins_at_the_end_misses_what_was_there_before() -> None:
    groups, logs = honest()
    groups.groups["g"].start = "latest"
    del groups.deliveries[:2]
    groups.seen[0] = groups.seen[0]._replace(done=0b000111, lag=2, oldest_at_ms=104)
    assert check_groups(groups, logs, TOPICS) == []


def described(owners: dict[int, str | None], members: tuple[str, ...]) -> GroupDescription:
    return GroupDescription(
        group="g",
        group_id=1,
        model="clustering",
        strategy="sticky",
        members=[MemberInfo(member=one) for one in members],
        queues=[
            QueueOwner(topic="t", queue_id=queue, queue=queue, shard=0, owner=owner)
            for queue, owner in owners.items()
        ],
    )


@pytest.mark.parametrize(
    ("owners", "strategy", "rules"),
    [
        ({1: "a", 2: "b", 3: "a"}, "sticky", []),
        ({1: "a", 2: "a", 3: "a"}, "sticky", ["lopsided"]),
        ({1: "a", 2: "a", 3: "a"}, "hash", []),
        ({1: "a", 2: "b", 3: None}, "sticky", ["lopsided"]),
        ({1: "a", 2: "b"}, "average", ["lopsided"]),
        ({1: "a", 2: "b", 3: "c"}, "circle", ["lopsided"]),
    ],
)
def test_an_assignment_is_complete_and_balanced(
    owners: dict[int, str | None], strategy: str, rules: list[str]
) -> None:
    group = Group("g", {"t": "*"}, strategy=strategy)
    live = dict.fromkeys((1, 2, 3), "t")
    assert [one.rule for one in lopsided(group, described(owners, ("a", "b")), live)] == rules


@pytest.mark.parametrize(("queues", "rules"), [(3, []), (2, ["lopsided"]), (0, ["lopsided"])])
def test_a_broadcasting_member_has_every_queue(queues: int, rules: list[str]) -> None:
    group = Group("g/a", {"t": "*"}, model="broadcasting", of="g", alone="a")
    description = described(dict.fromkeys((1, 2, 3)), ("a", "b"))
    description.members[0].queues = queues
    live = dict.fromkeys((1, 2, 3), "t")
    assert [one.rule for one in lopsided(group, description, live)] == rules


@pytest.mark.parametrize("offsets", [set(), {0}, {1}, {0, 1, 2, 5, 6, 9}, {3, 5, 70}])
def test_a_set_of_offsets_is_its_floor_and_its_ranges(offsets: set[int]) -> None:
    bits = sum(1 << one for one in offsets)
    floor, ranges = floor_of(bits), ranges_of(bits)
    assert floor == min(set(range(100)) - offsets)
    assert set_of(floor, ranges) == bits
    covered = {one for first, stop in ranges for one in range(first, stop)}
    assert covered == {one for one in offsets if one >= floor}


def test_a_group_is_behind_while_a_shard_has_a_message_to_copy() -> None:
    """Whatever the logs say: retention may have taken copies, so a missing one proves nothing."""
    run = Run(0, Plan(groups=1, retries=True))
    run.cluster.start()
    run.world.run_until(run.world.mono_ms + 100.0)
    assert run.group_judge.behind() == []
    shard = run.cluster.shard(0)
    assert shard is not None
    entry = ScheduledEntry(offset=0, lsn=0, due_ms=1, attempt=2)
    due = Scheduled(2, 2, RETRY, False, 7, "t", 0, [entry])
    shard.state.schedule.apply(LogRecord(500, STATE, 1, 0, 0, 0, encode_state(due), 100, 0, 0))
    assert run.group_judge.behind() == ["shard-0 has 1 messages to copy"]
