"""Checks over one Python source: each takes a path and its text and returns what is wrong.

Owns: how a rule is looked for. Must not know which files exist or which are excused: the tables
stand in tests/test_tidy.py. A finding reads `path:line: what; what to do instead`, so that the
failure is the instruction. Every check is pure, and test_tidy.py shows each a source that breaks
it: a check that was never red proves nothing.

Names are looked at as what they resolve to, not as they are spelt: after `from time import sleep
as nap`, `nap` is `time.sleep`. A use counts, not only a call (`clock=time.monotonic`).
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

FILE_LINES_MAX = 400  # hard; 350 is what we aim for
FUNCTION_LINES_MAX = 70
LINE_CHARACTERS_MAX = 100

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Ban:
    """A dotted name that may not be used, what to use instead, and where it is right anyway."""

    name: str
    instead: str
    allowed: tuple[str, ...] = field(default=())

    def covers(self, name: str) -> bool:
        return name == self.name or name.startswith(self.name + ".")


def matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def sizes(path: str, source: str) -> list[str]:
    """Files, functions and lines that are too long to be read at once."""
    lines = source.splitlines()
    found = []
    if len(lines) > FILE_LINES_MAX:
        found.append(
            f"{path}: {len(lines)} lines, at most {FILE_LINES_MAX}; find the second noun in the"
            " file and give it its own"
        )
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_CHARACTERS_MAX:
            found.append(f"{path}:{number}: line of {len(line)} characters; break it")
    for function in _functions(ast.parse(source)):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > FUNCTION_LINES_MAX:
            found.append(
                f"{path}:{function.lineno}: {function.name} has {length} lines, at most"
                f" {FUNCTION_LINES_MAX}; move the leaves out, keep the ifs"
            )
    return found


def docstring(path: str, source: str) -> list[str]:
    if ast.get_docstring(ast.parse(source)):
        return []
    return [f"{path}: no module docstring; say what it owns, what it must not know, the theory"]


def banned(path: str, source: str, bans: tuple[Ban, ...]) -> list[str]:
    """Uses of names that another place owns."""
    active = [ban for ban in bans if not matches(path, ban.allowed)]
    found = []
    for line, name in sorted(set(_names(ast.parse(source)))):
        for ban in active:
            if ban.covers(name):
                found.append(f"{path}:{line}: {name}; instead: {ban.instead}")
                break
    return found


def leftovers(path: str, source: str) -> list[str]:
    """Unfinished or pretended work: markers, stubs, tests that do not test, lost exceptions."""
    parsed = ast.parse(source)
    found = [f"{path}:{line}: {what}" for line, what in _marker_lines(source, parsed)]
    for node in ast.walk(parsed):
        what = _leftover(node)
        if what:
            found.append(f"{path}:{getattr(node, 'lineno', 0)}: {what}")
    for function in _stubs(parsed):
        found.append(f"{path}:{function.lineno}: {function.name} is a stub; write it or drop it")
    return found


def _leftover(node: ast.AST) -> str:
    name = _dotted(node) if isinstance(node, ast.Name | ast.Attribute) else ""
    if name == "NotImplementedError":
        return "NotImplementedError; write it, or declare the method in a Protocol"
    if re.fullmatch(r"pytest\.(mark\.)?(skip|skipif|xfail|importorskip)", name):
        return f"{name}; a test runs or does not exist (fail with the reason if a tool is missing)"
    if name in {"unittest.mock", "mock.patch", "mock.Mock"}:
        return f"{name}; use the simulated port or the real part"
    if isinstance(node, ast.ImportFrom | ast.Import):
        imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        imported += [alias.name for alias in node.names]
        if "unittest.mock" in imported or "mock" in imported:
            return "a mock; use the simulated port or the real part"
    if isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant) and node.test.value:
        return "an assertion of a constant; assert what the code owes"
    if isinstance(node, ast.ExceptHandler):
        return _swallowed(node)
    if isinstance(node, ast.Call) and _dotted(node.func) in {"suppress", "contextlib.suppress"}:
        if any(_dotted(argument) in _EVERYTHING for argument in node.args):
            return "suppress of every exception; name the one that is expected"
    return ""


_EVERYTHING = {"Exception", "BaseException"}


def _swallowed(handler: ast.ExceptHandler) -> str:
    if handler.type is None:
        return "bare except; name what is expected (BaseException where it is raised again)"
    listed = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = any(_dotted(one) in _EVERYTHING for one in listed)
    if broad and all(_does_nothing(statement) for statement in handler.body):
        return "every exception swallowed; name the expected one, let the rest crash the actor"
    return ""


def _does_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Pass | ast.Continue | ast.Break):
        return True
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


# Put together here, so that this file does not hold what it looks for.
_MARKER = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")


def _marker_lines(source: str, parsed: ast.Module) -> Iterator[tuple[int, str]]:
    """Markers in comments and docstrings; other strings are data."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and _MARKER.search(token.string):
            yield token.start[0], "leftover marker in a comment; do it, or write the limit down"
    for node in ast.walk(parsed):
        if isinstance(node, ast.Module | ast.ClassDef | Function):
            if _MARKER.search(ast.get_docstring(node) or ""):
                yield getattr(node, "lineno", 1), "leftover marker in a docstring"


def text_markers(path: str, source: str) -> list[str]:
    """Leftover markers in a file that is not Python."""
    lines = enumerate(source.splitlines(), 1)
    return [f"{path}:{n}: leftover marker; do it" for n, line in lines if _MARKER.search(line)]


def _stubs(parsed: ast.Module) -> Iterator[Function]:
    """Functions whose body is `...`, outside protocols, overloads and abstract methods."""
    declared: set[Function] = set()
    for node in ast.walk(parsed):
        if isinstance(node, ast.ClassDef) and any(
            _dotted(base).endswith("Protocol") for base in node.bases
        ):
            declared.update(child for child in node.body if isinstance(child, Function))
    for function in _functions(parsed):
        decorators = {_dotted(one).rpartition(".")[2] for one in function.decorator_list}
        if function in declared or decorators & {"overload", "abstractmethod"}:
            continue
        if any(_is_ellipsis(statement) for statement in function.body):
            yield function


def _is_ellipsis(statement: ast.stmt) -> bool:
    value = getattr(statement, "value", None)
    return isinstance(statement, ast.Expr) and getattr(value, "value", None) is Ellipsis


def _functions(parsed: ast.Module) -> Iterator[Function]:
    for node in ast.walk(parsed):
        if isinstance(node, Function):
            yield node


def _dotted(node: ast.AST) -> str:
    """`a.b.c` of a name or attribute chain (a subscript or call in it is dropped), else ''."""
    if isinstance(node, ast.Subscript | ast.Call):
        return _dotted(node.value if isinstance(node, ast.Subscript) else node.func)
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return node.id if isinstance(node, ast.Name) else ""


def _names(parsed: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, resolved dotted name) of every import and every use of an imported or builtin name."""
    known = {name: name for name in ("print", "eval", "exec", "compile", "input")}
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
                top = alias.name.partition(".")[0]
                known[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        elif isinstance(node, Function | ast.ClassDef):
            known.pop(node.name, None)
    for node in ast.walk(parsed):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            top, _, rest = _dotted(node).partition(".")
            if top in known:
                yield node.lineno, f"{known[top]}.{rest}" if rest else known[top]
