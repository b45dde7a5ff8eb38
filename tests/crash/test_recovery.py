"""Recovery times: only what was asked after the kill proves that something is back."""

from __future__ import annotations

from support.recovery import Answer, Kill, recoveries, slowest

S = 1_000_000_000


def answer(asked: float, answered: float, component: str = "shard-0") -> Answer:
    return Answer(round(asked * S), round(answered * S), component)


def kill(at: float, component: str) -> Kill:
    return Kill(round(at * S), component)


def test_an_answer_that_was_in_the_pipes_proves_nothing() -> None:
    (one,) = recoveries([kill(1, "shard-0")], [answer(0.9, 1.1), answer(1.2, 1.5)])
    assert one.seconds == 0.5
    assert one.alone


def test_a_shard_is_back_when_it_stores_again_not_when_another_does() -> None:
    answers = [answer(1.1, 1.2, "shard-1"), answer(1.1, 1.9, "shard-0")]
    (one,) = recoveries([kill(1, "shard-0")], answers)
    assert one.seconds == 0.9


def test_any_stored_message_shows_the_router_and_only_a_question_the_coordinator() -> None:
    answers = [answer(1.1, 1.2, "coordinator"), answer(1.1, 1.4, "shard-1")]
    by_router, by_coordinator = recoveries([kill(1, "router"), kill(1, "coordinator")], answers)
    assert by_router.seconds == 0.4
    assert by_coordinator.seconds == 0.2


def test_overlapping_kills_are_not_held_against_one_component() -> None:
    kills = [kill(1, "router"), kill(1.2, "shard-0"), kill(5, "shard-0")]
    answers = [answer(1.3, 2.9), answer(5.1, 5.4)]
    found = recoveries(kills, answers)
    assert [one.alone for one in found] == [False, False, True]
    assert slowest(found) == {"shard-0": 0.4}


def test_a_killed_producer_is_nobodys_recovery() -> None:
    found = recoveries([kill(1, "producer"), kill(2, "router")], [answer(2.1, 2.2)])
    assert [one.kill.component for one in found] == ["router"]


def test_nothing_after_the_kill_is_told() -> None:
    (one,) = recoveries([kill(1, "router")], [])
    assert one.seconds is None
    assert not one.alone
    assert slowest([one]) == {}
