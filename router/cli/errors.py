"""Errors of the command line: `{code, message, hint}` and the exit status that goes with it.

Owns: which exception becomes which code and status. Must not print. Exceptions are told apart by
name and attributes, so that a command that fails early need not load the client library.

    status   meaning
    0        done
    1        refused: the request cannot succeed as it is
    2        the command line itself is wrong
    3        not now: the broker is not there, busy or restarting; the same may succeed later
    130      interrupted
"""

from __future__ import annotations

from typing import Any, NamedTuple

import click

__all__ = [
    "EXIT_INTERRUPTED",
    "EXIT_NOT_NOW",
    "EXIT_REFUSED",
    "EXIT_USAGE",
    "CliError",
    "Problem",
    "problem_of",
]

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_NOT_NOW = 3
EXIT_INTERRUPTED = 130


class Problem(NamedTuple):
    """What went wrong, for people and programs alike."""

    code: str
    message: str
    hint: str
    status: int

    def as_dict(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message, "hint": self.hint}


class CliError(Exception):
    """A command that cannot be carried out."""

    def __init__(
        self, code: str, message: str, hint: str = "", *, status: int = EXIT_REFUSED
    ) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.status = status


def problem_of(error: BaseException) -> Problem | None:
    """The problem that `error` tells of; None if it is a fault of this program."""
    if isinstance(error, CliError):
        return Problem(error.code, str(error), error.hint, error.status)
    if isinstance(error, click.UsageError):
        return Problem("USAGE", error.format_message(), _usage_hint(error), EXIT_USAGE)
    if isinstance(error, click.ClickException):
        return Problem("USAGE", error.format_message(), "", EXIT_USAGE)
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return Problem("INTERRUPTED", "interrupted", "", EXIT_INTERRUPTED)
    names = {kind.__name__ for kind in type(error).__mro__}
    if "ConfigError" in names:
        return Problem("INVALID_CONFIG", str(error), _text(error, "hint"), EXIT_USAGE)
    if "ShardMQError" in names or "BrokerError" in names:
        status = EXIT_NOT_NOW if getattr(error, "retryable", False) else EXIT_REFUSED
        return Problem(_code(error), _message(error), _text(error, "hint"), status)
    if isinstance(error, OSError):
        return Problem("IO_ERROR", _os_text(error), "", EXIT_REFUSED)
    return None


def _usage_hint(error: click.UsageError) -> str:
    return f"see {error.ctx.command_path} --help" if error.ctx is not None else "see --help"


def _code(error: BaseException) -> str:
    """The stable name: `TOPIC_NOT_FOUND` from a code that is an enum, else from the class."""
    code: Any = getattr(error, "code", None)
    name = getattr(code, "name", None) or getattr(error, "name", None)
    if isinstance(name, str) and name:
        return name
    if isinstance(code, str) and code:
        return code
    pieces: list[str] = []
    for letter in type(error).__name__.removesuffix("Error"):
        pieces.append("_" + letter if letter.isupper() and pieces else letter)
    return "".join(pieces).upper()


def _message(error: BaseException) -> str:
    return _text(error, "message") or str(error) or type(error).__name__


def _text(error: BaseException, name: str) -> str:
    value = getattr(error, name, "")
    return value if isinstance(value, str) else ""


def _os_text(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason
