"""Errors: one sentence for a log, and its two halves for a command line."""

from __future__ import annotations

import pytest

from shardmq.router import errors


def test_the_text_has_the_hint_and_both_can_be_had_apart() -> None:
    error = errors.AddressInUse("port 5680 is taken", "choose another one")
    assert str(error) == "port 5680 is taken; choose another one"
    assert (error.message, error.hint) == ("port 5680 is taken", "choose another one")
    assert str(errors.StartFailed("no")) == "no"


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_a_broker_error_and_stands_in_the_tree(name: str) -> None:
    assert issubclass(getattr(errors, name), errors.BrokerError)
    assert name in str(errors.__doc__)
