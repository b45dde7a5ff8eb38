"""Work groups: which queues may have something, when the others will, whose receipts are known."""

from __future__ import annotations

from shardmq.actors.kernel.ports import Now
from shardmq.actors.protocol.work_messages import EVERYBODY
from shardmq.shards import work_groups
from shardmq.shards.serving import ServedQueue
from shardmq.shards.state.cursors import Cursors
from shardmq.shards.state.handouts import NEVER
from shardmq.shards.state.queues import QueueOffsets
from shardmq.shards.work_groups import WorkGroup, WorkGroups, WorkQueue
from support.folding import granted, handed

GROUP = 7


def cursors_of(*queues: int, member: str = EVERYBODY) -> Cursors:
    cursors = Cursors()
    for queue in queues:
        cursors.apply(granted(queue, group_id=GROUP, member=member))
    return cursors


def ready(groups: WorkGroups) -> list[int]:
    return [work.number for work in groups.group(GROUP).ready]


def queue(groups: WorkGroups, number: int) -> WorkQueue:
    work = groups.queue(GROUP, number)
    assert work is not None
    return work


def news(groups: WorkGroups, *numbers: int) -> None:
    groups.news([ServedQueue(number, QueueOffsets()) for number in numbers])


def at(ms: int) -> Now:
    return Now(float(ms), ms)


def rest(groups: WorkGroups, until_ms: int = NEVER) -> int:
    """The queue whose turn it is has nothing; its number."""
    work = groups.group(GROUP).first_ready()
    assert work is not None
    groups.rest(work, until_ms)
    return work.number


def test_at_a_start_all_shared_queues_may_have_something_and_receipts_are_known() -> None:
    cursors = cursors_of(1, 2)
    cursors.apply(granted(3, group_id=GROUP, member="ann"))
    cursors.apply(handed((0, 4, 1), queue=2, group_id=GROUP, receipt=50))
    groups = WorkGroups(cursors)
    assert sorted(ready(groups)) == [1, 2]
    assert len(groups) == 2
    assert groups.group(GROUP).receipts == {50: (2,)}


def test_a_queue_is_ready_resting_or_idle() -> None:
    groups = WorkGroups(cursors_of(1, 2, 3))
    assert [rest(groups, 500), rest(groups), rest(groups, 400)] == [1, 2, 3]
    assert groups.wake_in_ms(at(100)) == 300
    groups.wake(at(399))
    assert ready(groups) == []
    groups.wake(at(400))
    assert ready(groups) == [3]
    news(groups, 2, 3, 9)
    assert ready(groups) == [3, 2]
    groups.arm(queue(groups, 1), 450)
    groups.arm(queue(groups, 1), 600)
    groups.wake(at(450))
    assert ready(groups) == [3, 2, 1]
    groups.wake(at(9_999))
    assert ready(groups) == [3, 2, 1]
    assert groups.wake_in_ms(at(1)) is None


def test_queues_take_turns() -> None:
    groups = WorkGroups(cursors_of(1, 2, 3))
    work = groups.group(GROUP).first_ready()
    assert work is not None
    work.given = 5
    groups.rotate(work)
    assert (ready(groups), work.given) == ([2, 3, 1], 0)


def test_what_is_given_back_is_ready_when_it_is_visible() -> None:
    groups = WorkGroups(cursors_of(1))
    work = queue(groups, 1)
    rest(groups, 900)
    work.soonest_ms = 900
    groups.given_back(GROUP, 1, 300, at(100))
    groups.given_back(GROUP, 8, 300, at(100))
    assert (ready(groups), groups.wake_in_ms(at(100)), work.soonest_ms) == ([], 200, 300)
    groups.given_back(GROUP, 1, 100, at(100))
    assert ready(groups) == [1]


def test_a_grant_makes_a_queue_anew_or_takes_it() -> None:
    cursors = cursors_of(1)
    groups = WorkGroups(cursors)
    before = queue(groups, 1)
    before.front = 9
    rest(groups)
    cursors.apply(granted(1, 2, group_id=GROUP, member=EVERYBODY, floor=0))
    groups.granted(GROUP, 1)
    assert (queue(groups, 1).front, before.gone, ready(groups)) == (0, True, [1])
    cursors.apply(granted(1, 3, group_id=GROUP, member="ann"))
    groups.granted(GROUP, 1)
    assert (groups.queue(GROUP, 1), len(groups)) == (None, 0)
    news(groups, 1)
    assert ready(groups) == []


def test_queues_that_are_dropped_are_gone() -> None:
    groups = WorkGroups(cursors_of(1, 2))
    groups.dropped([2, 99])
    assert (ready(groups), len(groups)) == ([1], 1)
    rest(groups)
    assert groups.group(GROUP).first_ready() is None


def test_a_group_that_nobody_waits_for_is_forgotten() -> None:
    groups = WorkGroups(Cursors())
    group = groups.group(9)
    group.waiting.append("somebody")
    groups.leave(group)
    assert groups.group(9) is group
    group.waiting.clear()
    groups.leave(group)
    assert groups.group(9) is not group


def test_only_groups_that_somebody_waits_for_are_looked_after() -> None:
    groups = WorkGroups(cursors_of(1))
    group = groups.group(GROUP)
    groups.activate(group)
    assert not groups.active
    group.peeking.append("somebody")
    for _ in range(2):
        news(groups, 1)
    assert list(groups.active) == [group]


def test_receipts_of_what_is_settled_are_forgotten() -> None:
    cursors = cursors_of(1, 2)
    groups = WorkGroups(cursors)
    group = groups.group(GROUP)
    cursors.apply(handed((0, 4, 1), queue=1, group_id=GROUP, receipt=1))
    slack = work_groups._RECEIPTS_SLACK
    for receipt in range(1, 3 * slack):
        groups.remember(group, receipt, 1)
        assert len(group.receipts) <= slack + 2
    assert 1 in group.receipts
    groups.remember(group, 1, 2)
    assert group.receipts[1] == (1, 2)


def test_stale_times_do_not_pile_up() -> None:
    groups = WorkGroups(cursors_of(1, 2))
    for ms in range(2_000, 0, -1):
        rest(groups, ms)
        news(groups, 1, 2)
    assert len(groups._resting) < 100
    assert isinstance(groups.group(GROUP), WorkGroup)


def test_a_queue_that_is_granted_anew_again_and_again_is_kept_once() -> None:
    groups = WorkGroups(cursors_of(1, 2))
    for _ in range(5):
        groups.granted(GROUP, 1)
    assert len(groups) == len(ready(groups)) == 2
