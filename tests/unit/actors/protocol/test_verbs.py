"""Verbs: one row each, complete."""

from __future__ import annotations

import msgspec

from shardmq.actors.protocol.messages import Header
from shardmq.actors.protocol.verbs import VERB_ROWS, Destination, Verb, row_of


def test_every_verb_has_exactly_one_row() -> None:
    assert [row.verb for row in VERB_ROWS] == list(Verb)


def test_requests_and_replies_are_headers() -> None:
    for row in VERB_ROWS:
        assert issubclass(row.request, Header), row.verb.name
        assert issubclass(row.reply, Header), row.verb.name
        assert row.request is not row.reply


def test_every_row_names_a_permission_and_what_it_is_about() -> None:
    for row in VERB_ROWS:
        assert row.permission
        assert row.about


def test_a_verb_is_found_by_its_number_and_an_unknown_one_is_not() -> None:
    row = row_of(20)
    assert row is not None
    assert row.verb is Verb.PRODUCE
    assert row_of(0) is None
    assert row_of(65_535) is None


def test_verbs_between_processes_are_marked_as_such() -> None:
    internal = [row.verb for row in VERB_ROWS if row.destination is Destination.INTERNAL]
    assert internal == [Verb.DEFINE, Verb.GRANT, Verb.RELEASE, Verb.SESSIONS_GONE, Verb.TAKEN]


def test_numbers_fit_the_route_frame() -> None:
    assert all(0 < verb < 1 << 16 for verb in Verb)


def test_every_field_of_every_header_is_a_json_name() -> None:
    for row in VERB_ROWS:
        for kind in (row.request, row.reply):
            for field in msgspec.structs.fields(kind):
                assert field.encode_name == field.name
