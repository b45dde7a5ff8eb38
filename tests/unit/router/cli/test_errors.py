"""Problems: each exception has one code, one hint, one exit status."""

from __future__ import annotations

import click
import pytest

from shardmq.actors.protocol.codes import Code
from shardmq.client.errors import ClosedError, TopicNotFound, Unavailable, remote_error, send_error
from shardmq.router.cli.errors import CliError, Problem, problem_of
from shardmq.router.config import ConfigError


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (CliError("BENCH_FAILED", "text", "hint"), "BENCH_FAILED", 1),
        (CliError("USAGE", "text", status=2), "USAGE", 2),
        (TopicNotFound("no topic orders"), "TOPIC_NOT_FOUND", 1),
        (Unavailable("nobody there"), "UNAVAILABLE", 3),
        (remote_error(Code.BUSY, "slow down"), "BUSY", 3),
        (send_error(Code.TOPIC_NOT_FOUND, "no topic", unknown=False), "TOPIC_NOT_FOUND", 1),
        (send_error(Code.TIMED_OUT, "late", unknown=True), "TIMED_OUT", 3),
        (ClosedError("producer"), "INVALID_ARGUMENT", 1),
        (ConfigError("bad", "write so"), "INVALID_CONFIG", 2),
        (click.UsageError("no such option"), "USAGE", 2),
        (click.ClickException("bad file"), "USAGE", 2),
        (KeyboardInterrupt(), "INTERRUPTED", 130),
        (FileNotFoundError(2, "No such file or directory", "x.txt"), "IO_ERROR", 1),
    ],
)
def test_each_error_has_its_code_and_status(error: BaseException, code: str, status: int) -> None:
    problem = problem_of(error)
    assert problem is not None
    assert (problem.code, problem.status) == (code, status)
    assert problem.message
    assert set(problem.as_dict()) == {"code", "message", "hint"}


def test_hints_come_from_the_error() -> None:
    problem = problem_of(TopicNotFound("there is no topic orders"))
    assert problem == Problem(
        "TOPIC_NOT_FOUND",
        "there is no topic orders",
        "create the topic: shardmq topic create NAME",
        1,
    )


def test_a_file_is_named() -> None:
    problem = problem_of(FileNotFoundError(2, "No such file or directory", "x.txt"))
    assert problem is not None
    assert problem.message == "x.txt: No such file or directory"


def test_a_fault_of_this_program_is_no_problem_of_the_user() -> None:
    assert problem_of(ZeroDivisionError()) is None
    assert problem_of(AssertionError("bug")) is None


def test_an_error_without_a_code_is_named_by_its_class() -> None:
    class ShardMQError(Exception):
        pass

    class DiskOnFireError(ShardMQError):
        pass

    problem = problem_of(DiskOnFireError("hot"))
    assert problem is not None
    assert problem.code == "DISK_ON_FIRE"
