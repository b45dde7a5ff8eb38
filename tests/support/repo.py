"""The repository as the layout and tidy tests see it.

Owns: which files belong to the project, which modules the four folders hold and under which
import name, and the parsed source of each. Must not know any rule: rules live in the tests.

The project's files are what git tracks plus what it would track (new and not ignored), so that a
check is red before the commit and not after it. A source archive has no git; there the tree is
walked without the directories that tools make.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("actors", "shards", "router", "client")  # imported as shardmq.<folder>
NAMESPACE = "shardmq"

_MADE_BY_TOOLS = {"build", "dist", "htmlcov", "shardmq-data", "__pycache__"}


@dataclass(frozen=True)
class Module:
    """A module of the package: `path` relative to the root, `name` as it is imported."""

    path: str
    name: str

    @property
    def folder(self) -> str:
        return self.path.split("/", 1)[0]

    @property
    def is_package(self) -> bool:
        return self.path.endswith("/__init__.py")

    @property
    def package(self) -> str:
        """What a relative import of one dot starts from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]


@functools.cache
def files() -> tuple[str, ...]:
    """Every file of the project, as sorted paths relative to the root with forward slashes."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
        names = {name.decode() for name in listed.split(b"\0") if name}
    else:
        names = {str(path.relative_to(ROOT)) for path in _walk(ROOT)}
    return tuple(sorted(name for name in names if (ROOT / name).is_file()))


def _walk(folder: Path) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_dir():
            found.append(path)
        elif not _is_made_by_tools(path.name):
            found.extend(_walk(path))
    return found


def _is_made_by_tools(name: str) -> bool:
    hidden = name.startswith(".") and name not in {".ci", ".ns"}
    return hidden or name in _MADE_BY_TOOLS or name.endswith(".egg-info")


def python_files() -> tuple[str, ...]:
    """Every Python source of the project; the links under .ns are the same files again."""
    return tuple(name for name in files() if name.endswith(".py") and not name.startswith(".ns/"))


@functools.cache
def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@functools.cache
def tree(path: str) -> ast.Module:
    return ast.parse(text(path), filename=path)


@functools.cache
def modules() -> tuple[Module, ...]:
    """Every module of the four folders."""
    return tuple(
        Module(path, module_name(path))
        for path in python_files()
        if path.split("/", 1)[0] in FOLDERS
    )


def module_name(path: str) -> str:
    """`actors/kernel/ports.py` -> `shardmq.actors.kernel.ports`."""
    parts = path.removesuffix(".py").split("/")
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join([NAMESPACE, *parts])


@functools.cache
def packages() -> tuple[str, ...]:
    """Every directory of the four folders that holds Python source, by import name."""
    return tuple(sorted({module_name(m.path.rpartition("/")[0]) for m in modules()}))


@functools.cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))


def imported_names(module: Module, node: ast.Import | ast.ImportFrom) -> list[str]:
    """Absolute dotted names that one import statement asks for.

    `from ..kernel.ports import Clock` in shardmq.actors.protocol.x gives
    `shardmq.actors.kernel.ports.Clock`; whether the last part is a module is the caller's question.
    """
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        parts = module.package.split(".")
        kept = parts[: max(0, len(parts) - (node.level - 1))]  # too many dots: from nowhere
        base = ".".join([*kept, *([base] if base else [])])
    return [f"{base}.{alias.name}".lstrip(".") for alias in node.names]


def runtime_imports(source: ast.AST) -> list[ast.Import | ast.ImportFrom]:
    """Import statements anywhere in the source, except those only a type checker reads."""
    found: list[ast.Import | ast.ImportFrom] = []
    stack: list[ast.AST] = [source]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            stack.extend(node.orelse)
        else:
            stack.extend(ast.iter_child_nodes(node))
    return sorted(found, key=lambda node: node.lineno)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"
