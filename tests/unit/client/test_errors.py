"""Errors: one table from codes to classes, and a refused send is both of its classes."""

from __future__ import annotations

import copy
import inspect
import re

import pytest

from shardmq.actors.protocol.codes import CODE_ROWS, Code
from shardmq.client import errors


@pytest.mark.parametrize("row", CODE_ROWS[1:], ids=lambda row: row.code.name)
def test_every_code_is_an_error_with_hint_and_retryable(row: object) -> None:
    error = errors.remote_error(row.code, "text")  # type: ignore[attr-defined]
    assert error.code == row.code  # type: ignore[attr-defined]
    assert (error.hint, error.retryable) == (row.hint, row.retryable)  # type: ignore[attr-defined]
    assert str(error) == "text"


def test_an_unknown_code_is_read_by_its_class() -> None:
    assert isinstance(errors.remote_error(499, "new"), errors.Rejected)
    assert type(errors.remote_error(599, "new")) is errors.RemoteError


def test_a_refused_send_is_its_code_and_send_failed() -> None:
    error = errors.send_error(Code.TOPIC_NOT_FOUND, "no topic", unknown=False)
    assert isinstance(error, errors.TopicNotFound)
    assert isinstance(error, errors.SendFailed)
    assert not isinstance(error, errors.SendUnknown)
    assert type(error).__name__ == "TopicNotFound"


def test_a_doubtful_send_is_unknown_whatever_the_code() -> None:
    error = errors.send_error(Code.UNAVAILABLE, "gone", unknown=True)
    assert isinstance(error, errors.SendUnknown)
    assert not isinstance(error, errors.SendFailed)
    assert "may be stored" in str(error)


def test_errors_survive_a_copy() -> None:
    error = errors.send_error(Code.BUSY, "later", "wait", unknown=False)
    twin = copy.copy(error)
    assert type(twin) is type(error)
    assert (twin.code, twin.hint, str(twin)) == (Code.BUSY, "wait", "later")
    assert type(copy.copy(errors.ClosedError("producer"))) is errors.ClosedError


def test_local_misuse_and_remote_faults_never_meet() -> None:
    classes = [one for _, one in inspect.getmembers(errors, inspect.isclass)]
    own = [one for one in classes if issubclass(one, errors.ShardMQError)]
    for one in own:
        assert not (issubclass(one, errors.UsageError) and issubclass(one, errors.RemoteError))
    assert issubclass(errors.InvalidArgument, ValueError)


def test_the_tree_in_the_docstring_names_every_class() -> None:
    drawn = set(re.findall(r"\b[A-Z]\w+", str(errors.__doc__)))
    for name in errors.__all__:
        if name[0].isupper():
            assert name in drawn, name
