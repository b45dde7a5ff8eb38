"""What `shardmq dlq` understands of its words, and what it makes of a dead letter."""

from __future__ import annotations

import pytest

from shardmq.router.cli.deadletters import Choice, dead_letter
from shardmq.router.cli.dlq import _after, _places, _starts, message_of
from shardmq.router.cli.errors import EXIT_USAGE, CliError
from shardmq.router.cli.reading import Start
from support.received import Letter


def test_a_dead_letter_becomes_the_message_that_it_was() -> None:
    properties = {"%TOPIC": "jobs", "%ATTEMPT": "3", "%CAUSE": "no", "region": "eu"}
    letter = dead_letter(Letter(topic="%DLQ%work", properties=properties))
    message = message_of(letter, None)
    assert (message.topic, message.body, message.tag) == ("jobs", b"hello", "paid")
    assert (message.keys, message.ordering_key) == (("4711",), "o-1")
    assert message.properties == {"region": "eu"}
    assert message_of(letter, "elsewhere").topic == "elsewhere"


def test_places_begin_each_queue_at_the_first_that_is_wanted() -> None:
    places = _places(("0/12", "01/7", "0/3"))
    assert places == {"0/12", "1/7", "0/3"}
    assert _starts("earliest", Choice(places=places)) == {0: Start(offset=3), 1: Start(offset=7)}


def test_without_places_all_queues_begin_at_one_time() -> None:
    assert _starts("earliest", Choice()) == Start(place="earliest")
    assert isinstance(_starts("-10m", Choice()), Start)


@pytest.mark.parametrize("place", ["0", "0/", "/3", "a/b", "0/-1", "0/1/2"])
def test_what_is_no_place_is_refused(place: str) -> None:
    with pytest.raises(CliError, match="QUEUE/OFFSET") as refused:
        _places((place,))
    assert refused.value.status == EXIT_USAGE


@pytest.mark.parametrize("start", ["4711", "soon"])
def test_what_is_no_time_is_refused(start: str) -> None:
    with pytest.raises(CliError, match="--from"):
        _starts(start, Choice())


def test_of_several_places_to_go_on_behind_the_last_counts() -> None:
    assert _after(("0/12", "01/7", "0/30", "0/3")) == {0: 30, 1: 7}
    with pytest.raises(CliError, match="--after"):
        _after(("x",))
