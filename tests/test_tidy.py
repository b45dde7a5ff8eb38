"""The source keeps its own rules: sizes, banned names, pure cores, leftovers.

Owns: the tables of what is allowed where, each line with its reason. How a rule is looked for is in
support/tidy.py. To excuse a file, add it to the table of that rule and say why; do not weaken the
rule. Checks of files that are not Python are in test_repository.py.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest

from support import repo, tidy
from support.tidy import Ban

# A module is pure unless it stands here. A shell does the I/O of a core that is tested without it;
# the reason says which I/O. Patterns are those of fnmatch, relative to the root.
SHELLS: dict[str, str] = {
    "actors/kernel/clock.py": "the clock itself",
    "actors/kernel/exchange.py": "all sockets of an actor behind one epoll",
    "actors/kernel/jobs.py": "the disk thread",
    "actors/kernel/listening.py": "listening descriptors",
    "actors/kernel/mailbox.py": "receives from sockets",
    "actors/kernel/port.py": "sends through one socket",
    "actors/kernel/process.py": "a child process: signals, exit codes",
    "actors/kernel/randomness.py": "the system's random numbers",
    "actors/kernel/shell.py": "the loop around a core",
    "actors/kernel/sockets.py": "opens sockets",
    "actors/kernel/spawn.py": "starts processes",
    "actors/kernel/supervising.py": "real processes under supervisor.py",
    "client/admin.py": "blocks on a connection",
    "client/aio/*": "the client under an event loop",
    "client/closing.py": "asks in which process it is",
    "client/consumer.py": "blocks on a connection",
    "client/link/flows.py": "blocks on a connection",
    "client/link/sharing.py": "connections of the process; exit and fork",
    "client/link/thread.py": "threads, polling",
    "client/link/wire.py": "the DEALER socket",
    "client/naming.py": "names of this host and this process",
    "client/producer.py": "blocks on a connection",
    "client/push.py": "threads that call listeners",
    "client/simple.py": "blocks on a connection",
    "router/bench/conduct.py": "starts a broker and workers",
    "router/bench/load.py": "the clock of a measurement, real producers and consumers",
    "router/bench/machine.py": "reads what machine this is",
    "router/bench/raw.py": "bare sockets and bare files, measured",
    "router/bench/team.py": "workers' processes and pipes",
    "router/bench/watch.py": "reads figures of processes",
    "router/bench/worker.py": "a worker's process",
    "router/broker.py": "starts processes and a thread; the embedding program owns it",
    "router/cli/*": "the command line: arguments, environment, files, terminal, signals",
    "router/coordinator_process.py": "composition root of a process",
    "router/data_dir.py": "files, locks and socket directories of a broker",
    "router/demo/member.py": "a process with a real consumer and the clock",
    "router/demo/members.py": "the members' processes and pipes",
    "router/demo/replay.py": "the sender's process, the clock",
    "router/demo/sender.py": "a process with a real producer and the clock",
    "router/listen.py": "opens the port",
    "router/process.py": "composition root of a process",
    "router/readiness.py": "asks processes over sockets, with a timeout",
    "shards/dump.py": "a command that reads the files of a log",
    "shards/log/realio.py": "LogIO on a real disk",
    "shards/process.py": "composes a shard from clock, disk and sockets",
}

# What pure code may not import: it would bring time, chance, files, sockets or threads into it.
IO_MODULES = (
    "asyncio", "concurrent", "ctypes", "fcntl", "glob", "http", "mmap", "multiprocessing", "os",
    "pathlib", "psutil", "queue", "random", "resource", "sched", "secrets", "select", "selectors",
    "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time",
    "uuid", "zmq",
)  # fmt: skip

SHELL_FILES = tuple(SHELLS)
OUTSIDE = ("tests/*", "scripts/*")  # they drive the program from outside
# Real processes have to be waited for; a unit test or a simulation owns its time.
MAY_SLEEP = ("tests/e2e/*", "tests/crash/*", "tests/interop/*", "tests/support/*", "scripts/*")

BANS = (
    Ban("time.time", "now.wall_ms, or the Clock port", (*SHELL_FILES, *OUTSIDE)),
    Ban("time.time_ns", "now.wall_ms, or the Clock port", (*SHELL_FILES, *OUTSIDE)),
    Ban("time.monotonic", "now.mono_ms, or the Clock port", (*SHELL_FILES, *OUTSIDE)),
    Ban("time.monotonic_ns", "now.mono_ms, or the Clock port", (*SHELL_FILES, *OUTSIDE)),
    Ban("time.perf_counter", "now.mono_ms, or the Clock port", (*SHELL_FILES, *OUTSIDE)),
    Ban(
        "time.sleep",
        "wait on what you wait for: poll, Event.wait, wake_at_ms",
        (*SHELL_FILES, *MAY_SLEEP),
    ),
    Ban("datetime.datetime.now", "datetime.fromtimestamp(now.wall_ms / 1000, UTC)", OUTSIDE),
    Ban("datetime.datetime.utcnow", "datetime.fromtimestamp(now.wall_ms / 1000, UTC)"),
    Ban("datetime.datetime.today", "datetime.fromtimestamp(now.wall_ms / 1000, UTC)"),
    Ban("random", "the Randomness port", OUTSIDE),
    Ban("pickle", "msgspec.msgpack: pickle runs what it reads"),
    Ban("marshal", "msgspec.msgpack"),
    Ban("shelve", "the journal"),
    Ban("eval", "a parser"),
    Ban("exec", "a function"),
    Ban("yaml", "tomllib and msgspec.convert"),
    Ban("os.fork", "spawn: a ZeroMQ context does not survive a fork", ("tests/*",)),
    Ban("os.forkpty", "multiprocessing with spawn"),
    Ban("os.system", "subprocess with a list of arguments"),
    Ban("os.popen", "subprocess with a list of arguments"),
    Ban("print", "logging, or the command line's output", ("router/cli/*", *OUTSIDE)),
    Ban("input", "an option of the command line"),
)


def _all_of(check: Callable[[str, str], list[str]], paths: tuple[str, ...]) -> str:
    found = [finding for path in paths for finding in check(path, repo.text(path))]
    return "\n".join(["", *found]) if found else ""


def _banned(path: str, source: str) -> list[str]:
    return tidy.banned(path, source, BANS)


def test_files_functions_and_lines_are_short_enough_to_read() -> None:
    found = _all_of(tidy.sizes, repo.python_files())
    assert not found, found


def test_every_module_opens_with_a_docstring() -> None:
    found = _all_of(tidy.docstring, repo.python_files())
    assert not found, found


def test_banned_names_are_used_only_where_they_are_owned() -> None:
    found = _all_of(_banned, repo.python_files())
    assert not found, f"{found}\n(excuses: BANS and SHELLS in tests/test_tidy.py)"


def test_nothing_is_left_unfinished_skipped_or_swallowed() -> None:
    found = _all_of(tidy.leftovers, repo.python_files())
    assert not found, found


# ------------------------------------------------------------------------------- pure cores


def _is_shell(module: repo.Module) -> bool:
    return tidy.matches(module.path, SHELL_FILES)


def _is_face(module: repo.Module) -> bool:
    """`__init__` re-exports, `__main__` starts: pure or not by what they import."""
    return module.path.endswith(("/__init__.py", "/__main__.py"))


def _io_reached(module: repo.Module) -> list[str]:
    """A finding for each run-time import that brings I/O in, by itself or through a shell."""
    by_name = {one.name: one for one in repo.modules()}
    found = []
    for node in repo.runtime_imports(repo.tree(module.path)):
        for name in repo.imported_names(module, node):
            top = name.partition(".")[0]
            target = by_name.get(name) or by_name.get(name.rpartition(".")[0])
            if top in IO_MODULES:
                found.append(f"{module.path}:{node.lineno}: imports {top}")
            elif target is not None and target != module and _brings_io(target):
                found.append(f"{module.path}:{node.lineno}: imports the shell {target.path}")
    return found


def _brings_io(module: repo.Module) -> bool:
    return any(_io_reached(module)) if _is_face(module) else _is_shell(module)


def test_pure_modules_import_no_io_and_no_shell() -> None:
    pure = [one for one in repo.modules() if not _is_shell(one) and not _is_face(one)]
    found = [finding for module in pure for finding in _io_reached(module)]
    advice = (
        "take it through a port (actors/kernel/ports.py), or, if this module is the shell of a"
        " core that is tested without it, list it with the reason in SHELLS of tests/test_tidy.py"
    )
    assert not found, "\n".join(["", *found, advice])


def test_the_table_of_shells_has_no_stale_line() -> None:
    for pattern in SHELLS:
        hit = [one for one in repo.modules() if tidy.matches(one.path, (pattern,))]
        assert hit, f"SHELLS: nothing matches {pattern!r}; remove the line"
        assert any(_io_reached(one) for one in hit), (
            f"SHELLS: {pattern!r} does no I/O; remove the line, it is pure now"
        )


# ------------------------------------------------------------- each check shown what it is for

BROKEN: list[tuple[str, Callable[[str, str], list[str]], str, str]] = [
    ("a long file", tidy.sizes, "x = 1\n" * 401, "401 lines"),
    ("a long function", tidy.sizes, "def f():\n" + "    x = 1\n" * 70, "f has 71 lines"),
    ("a long line", tidy.sizes, "x = '" + "x" * 95 + "'", "101 characters"),
    ("no docstring", tidy.docstring, "x = 1", "no module docstring"),
    ("the clock", _banned, "import time\ntime.time()", "time.time;"),
    ("the clock renamed", _banned, "from time import monotonic as m\nf(m)", "time.monotonic;"),
    ("the clock handed on", _banned, "import time as t\nf(clock=t.monotonic)", "time.monotonic;"),
    ("sleep", _banned, "import time\ntime.sleep(1)", "time.sleep;"),
    ("today", _banned, "import datetime\ndatetime.datetime.now()", "datetime.datetime.now;"),
    ("chance", _banned, "from random import choice", "random.choice;"),
    ("pickle", _banned, "import pickle", "pickle;"),
    ("eval", _banned, "eval('1')", "eval;"),
    ("exec handed on", _banned, "run = exec", "exec;"),
    ("yaml", _banned, "import yaml\nyaml.load(f)", "yaml.load;"),
    ("fork", _banned, "import os\nos.fork()", "os.fork;"),
    ("print", _banned, "print(1)", "print;"),
    ("a marker", tidy.leftovers, "x = 1  # TO" + "DO later", "marker"),
    ("a marker in a docstring", tidy.leftovers, "'''FIX" + "ME: all.'''", "marker"),
    ("not implemented", tidy.leftovers, "raise NotImplementedError", "NotImplementedError"),
    ("a stub", tidy.leftovers, "def f(): ...", "f is a stub"),
    ("an empty assertion", tidy.leftovers, "assert True", "assertion of a constant"),
    ("a skipped test", tidy.leftovers, "import pytest\npytest.skip('x')", "pytest.skip"),
    ("a skip mark", tidy.leftovers, "@pytest.mark.skipif(x)\ndef f(): pass", "skipif"),
    ("an expected failure", tidy.leftovers, "@pytest.mark.xfail\ndef f(): pass", "xfail"),
    ("a mock", tidy.leftovers, "from unittest.mock import Mock", "mock"),
    ("a bare except", tidy.leftovers, "try: f()\nexcept: g()", "bare except"),
    ("a lost error", tidy.leftovers, "try: f()\nexcept Exception: pass", "swallowed"),
    ("a lost error in a row", tidy.leftovers, "try: f()\nexcept (A, Exception): ...", "swallowed"),
    ("all suppressed", tidy.leftovers, "with suppress(Exception): f()", "suppress"),
]


@pytest.mark.parametrize(
    ("check", "source", "expected"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN]
)
def test_the_check_is_red_when_shown(
    check: Callable[[str, str], list[str]], source: str, expected: str
) -> None:
    found = check("shards/example.py", source)
    assert any(expected in finding for finding in found), found


FINE = """'''A module.'''
from typing import Protocol

class Port(Protocol):
    def now(self) -> int: ...

def time():
    return 1

def stop(self):
    try:
        time.sleep()
    except ValueError:
        pass
    except BaseException:
        time()
        raise
    self.time.time(); self.print()
    return {"key": "TODO is data"}
"""


def test_the_checks_are_green_on_what_only_looks_alike() -> None:
    checks = (tidy.sizes, tidy.docstring, _banned, tidy.leftovers)
    assert [finding for check in checks for finding in check("shards/x.py", FINE)] == []


def test_imports_resolve_through_dots_and_types_do_not_count() -> None:
    module = repo.Module("actors/kernel/loop.py", "shardmq.actors.kernel.loop")
    source = "if TYPE_CHECKING:\n    import zmq\nfrom ..protocol import codes\nfrom . import ports"
    nodes = repo.runtime_imports(ast.parse(source))
    names = [name for node in nodes for name in repo.imported_names(module, node)]
    assert names == ["shardmq.actors.protocol.codes", "shardmq.actors.kernel.ports"]
