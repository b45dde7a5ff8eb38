"""Flights: what a row of the file becomes."""

from __future__ import annotations

import pytest

from shardmq.router.demo.flights import FLIGHTS_IN_FILE, flight_of, packaged_flights


def test_a_row_becomes_tag_ordering_key_keys_properties_and_body() -> None:
    row = "1,1,515,2,11,UA,1545,N14228,EWR,IAH,227,1400"
    flight = flight_of(row)
    assert flight.row == row.encode()
    assert (flight.carrier, flight.tail_number) == ("UA", "N14228")
    assert flight.keys == ("UA1545", "EWR-IAH")
    assert flight.properties == {
        "date": "2013-01-01",
        "scheduled": "05:15",
        "origin": "EWR",
        "destination": "IAH",
        "distance_miles": "1400",
        "departure_delay_min": "2",
        "arrival_delay_min": "11",
        "air_time_min": "227",
    }


def test_what_was_not_recorded_is_left_out() -> None:
    flight = flight_of("12,31,5,,,AA,1,,JFK,LAX,,2475")
    assert flight.tail_number is None
    assert flight.properties == {
        "date": "2013-12-31",
        "scheduled": "00:05",
        "origin": "JFK",
        "destination": "LAX",
        "distance_miles": "2475",
    }


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="12 columns, this one has 3"):
        flight_of("1,2,3")


def test_the_file_comes_with_the_package_complete_and_sorted() -> None:
    flights = list(packaged_flights())
    assert len(flights) == FLIGHTS_IN_FILE
    assert len({flight.row for flight in flights}) == FLIGHTS_IN_FILE, "rows name themselves"
    moments = [(f.properties["date"], f.properties["scheduled"]) for f in flights]
    assert moments == sorted(moments)
    assert sum(flight.tail_number is None for flight in flights) == 2_512


def test_fewer_can_be_asked_for() -> None:
    assert len(list(packaged_flights(7))) == 7
