"""The proof: it holds for what is right, and each statement is red on a stream doctored for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shardmq.router.demo.flights import Flight, packaged_flights
from shardmq.router.demo.proof import Arrived, prove

SENT = list(packaged_flights(2_000))


def delivered(flights: list[Flight]) -> list[Arrived]:
    """As a correct broker delivers them: a queue for each aircraft, offsets in order."""
    ends: dict[int, int] = {}
    arrived = []
    for number, flight in enumerate(flights):
        queue_id = (sum(flight.tail_number.encode()) if flight.tail_number else number) % 4
        offset = ends.get(queue_id, 0)
        ends[queue_id] = offset + 1
        arrived.append(Arrived(flight, queue_id, offset))
    return arrived


def broken(arrived: list[Arrived], killed: int | None = None) -> set[str]:
    return {statement.text for statement in prove(SENT, arrived, killed) if not statement.holds}


def with_a_kill(again: int = 20) -> list[Arrived]:
    """As a group of three delivers them: member 1 has queue 1, then dies, and member 2 goes on
    `again` messages before its end."""
    arrived = []
    stream = [one for one in delivered(SENT) if one.queue_id == 1]
    half = len(stream) // 2
    arrived += [one._replace(member=1) for one in stream[:half]]
    arrived += [one._replace(member=2) for one in stream[half - again :]]
    arrived += [one for one in delivered(SENT) if one.queue_id != 1]
    return arrived


def test_everything_holds_for_what_was_delivered_right() -> None:
    statements = prove(SENT, delivered(SENT))
    assert all(statement.holds for statement in statements)
    assert len(statements) == 6
    assert statements[0].found == "all 2,000 flights came back"


def test_queues_may_be_read_in_any_interleaving() -> None:
    by_queue = sorted(delivered(SENT), key=lambda one: one.queue_id)
    assert not broken(by_queue)


def test_what_a_killed_member_had_not_acknowledged_comes_again() -> None:
    assert not broken(with_a_kill(), killed=1)
    (_, twice, *_) = prove(SENT, with_a_kill(20), killed=1)
    assert twice.found == "2,000 rows at as many offsets, 20 came again"


@pytest.mark.parametrize("killed", [None, 0])
def test_nothing_comes_again_when_another_or_nobody_was_killed(killed: int | None) -> None:
    (text,) = broken(with_a_kill(), killed)
    assert text.startswith("nothing came twice")


def test_nothing_comes_a_third_time_or_twice_to_one_member() -> None:
    arrived = with_a_kill()
    again = next(one for one in arrived if one.member == 2)
    for member in (0, 1, 2):
        assert broken([*arrived, again._replace(member=member)], killed=1)


def test_a_member_gets_an_aircraft_in_order_though_the_log_has_it_so() -> None:
    arrived = delivered(SENT)
    first, second = same_aircraft(arrived)
    arrived[first], arrived[second] = arrived[second], arrived[first]
    assert broken(arrived) == {"order per aircraft equals the file's"}
    arrived[first] = arrived[first]._replace(member=1)
    assert not broken(arrived), "two members are not one after the other"


def same_aircraft(arrived: list[Arrived]) -> tuple[int, int]:
    """Positions of the first two flights of one aircraft."""
    seen: dict[str, int] = {}
    for index, one in enumerate(arrived):
        tail = one.flight.tail_number
        if tail in seen:
            return seen[tail], index
        if tail is not None:
            seen[tail] = index
    raise AssertionError("2,000 flights have some aircraft twice")


def drop_one(arrived: list[Arrived]) -> None:
    del arrived[1_000]


def repeat_one(arrived: list[Arrived]) -> None:
    arrived.append(Arrived(arrived[500].flight, 0, 9_999))


def share_an_offset(arrived: list[Arrived]) -> None:
    arrived[7] = arrived[7]._replace(queue_id=arrived[3].queue_id, offset=arrived[3].offset)


def change_a_property(arrived: list[Arrived]) -> None:
    flight = arrived[10].flight
    changed = flight._replace(properties={**flight.properties, "origin": "XXX"})
    arrived[10] = arrived[10]._replace(flight=changed)


def change_a_tag(arrived: list[Arrived]) -> None:
    arrived[10] = arrived[10]._replace(flight=arrived[10].flight._replace(carrier="ZZ"))


def invent_one(arrived: list[Arrived]) -> None:
    flight = arrived[0].flight._replace(row=b"no,such,flight", tail_number=None)
    arrived.append(Arrived(flight, 0, 9_999))


def swap_two(arrived: list[Arrived]) -> None:
    first, second = same_aircraft(arrived)
    one, other = arrived[first], arrived[second]
    arrived[first] = one._replace(flight=other.flight)
    arrived[second] = other._replace(flight=one.flight)


def move_one(arrived: list[Arrived]) -> None:
    _, second = same_aircraft(arrived)
    arrived[second] = arrived[second]._replace(queue_id=99)


@pytest.mark.parametrize(
    ("doctor", "must_break"),
    [
        (drop_one, "nothing is missing"),
        (repeat_one, "nothing came twice"),
        (share_an_offset, "nothing came twice"),
        (change_a_property, "nothing was changed"),
        (change_a_tag, "counts per carrier equal the file's"),
        (invent_one, "nothing was changed"),
        (swap_two, "order per aircraft equals the file's"),
        (move_one, "each aircraft stays in its queue"),
    ],
)
def test_a_doctored_stream_breaks_its_statement(
    doctor: Callable[[list[Arrived]], None], must_break: str
) -> None:
    arrived = delivered(SENT)
    doctor(arrived)
    assert must_break in broken(arrived)


def test_what_is_wrong_is_shown_with_a_few_examples() -> None:
    (missing, *_) = prove(SENT, delivered(SENT)[:1_990])
    assert missing.found.startswith("10 wrong: ")
    assert missing.found.endswith(" and 7 more")
