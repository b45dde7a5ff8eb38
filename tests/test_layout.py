"""The layout holds: one import namespace, folders as layers, tests that mirror, a complete wheel.

Owns: where things stand and how they are imported. What stands inside a file is test_tidy.py's.

The four folders are imported as shardmq.<folder> through `package-dir` in pyproject.toml. That
works as long as nobody imports a folder by its bare name (a second copy of every class), no two
folders import each other, and `packages` names every directory (an unlisted one works in the
checkout and is missing in the wheel).
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from support import repo
from support.repo import Module

# A folder may import those of a lower number, and never its own level's neighbour.
LAYER = {"actors": 0, "shards": 1, "client": 1, "router": 2}

# Modules without a unit test of their own, and what proves them instead. Only thin shells: what
# decides something is a core and has a unit test.
WITHOUT_UNIT_TEST: dict[str, str] = {
    "client/admin.py": "tests/e2e/test_client_reading.py",
    "client/aio/admin.py": "tests/e2e/test_client_reading.py",
    "client/aio/consumer.py": "tests/e2e/test_client_reading.py",
    "client/aio/link.py": "tests/e2e/test_client_reading.py",
    "client/aio/producer.py": "tests/e2e/test_client_reading.py",
    "client/aio/push.py": "tests/e2e/test_groups_push.py",
    "client/consumer.py": "tests/e2e/test_client_reading.py",
    "client/link/flows.py": "tests/e2e/test_client_reading.py",
    "client/link/sharing.py": "tests/e2e/test_client_process.py",
    "client/producer.py": "tests/e2e/test_client_delivery.py",
    "client/push.py": "tests/e2e/test_groups_push.py",
    "router/bench/conduct.py": "tests/e2e/test_cli_bench.py",
    "router/bench/team.py": "tests/e2e/test_cli_bench.py",
    "router/bench/worker.py": "tests/e2e/test_cli_bench.py",
    "router/cli/bench.py": "tests/e2e/test_cli_bench.py",
    "router/cli/scanning.py": "tests/e2e/test_cli_messages.py",
    "router/cli/send.py": "tests/e2e/test_cli_messages.py",
    "router/cli/topic.py": "tests/e2e/test_cli_topic.py",
    "router/demo/members.py": "tests/e2e/test_cli_demo.py",
    "router/demo/replay.py": "tests/e2e/test_cli_demo.py",
    "router/demo/sender.py": "tests/e2e/test_cli_demo.py",
}


# ------------------------------------------------------------------------------- imports


def import_faults(module: Module, source: ast.AST) -> list[str]:
    """Imports that name the right module in the wrong way, or a module of a wrong layer."""
    faults = []
    for node in ast.walk(source):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        where = f"{module.path}:{node.lineno}"
        relative = isinstance(node, ast.ImportFrom) and node.level > 0
        for name in repo.imported_names(module, node):
            parts = name.split(".")
            if not relative and parts[0] in repo.FOLDERS:
                faults.append(f"{where}: {name} loads a second copy; import shardmq.{name}")
            if parts[0] != repo.NAMESPACE or len(parts) < 2:
                if relative:
                    faults.append(f"{where}: too many dots; absolute shardmq.x across folders")
                continue
            if relative != (parts[1] == module.folder):
                rule = "absolute across folders" if relative else "relative inside a folder"
                faults.append(f"{where}: {name}; imports are {rule}")
            elif not relative and LAYER.get(parts[1], 9) >= LAYER[module.folder]:
                faults.append(f"{where}: {module.folder} may not import {parts[1]}")
    return faults


def test_imports_are_relative_inside_a_folder_and_absolute_across_layers() -> None:
    faults = [fault for one in repo.modules() for fault in import_faults(one, repo.tree(one.path))]
    assert not faults, "\n".join(["", *faults])


def bare_imports(path: str, source: ast.AST) -> list[str]:
    return [
        f"{path}:{node.lineno}: {name} loads a second copy; import shardmq.{name}"
        for node in ast.walk(source)
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level)
        for name in repo.imported_names(Module(path, "outside"), node)
        if name.split(".")[0] in repo.FOLDERS
    ]


def test_tests_and_scripts_import_the_package_by_its_name() -> None:
    outside = [p for p in repo.python_files() if p.split("/")[0] not in repo.FOLDERS]
    faults = [fault for path in outside for fault in bare_imports(path, repo.tree(path))]
    assert not faults, "\n".join(["", *faults])


# ------------------------------------------------------------------------------- the tree


def test_the_packages_list_equals_the_tree() -> None:
    listed = repo.pyproject()["tool"]["setuptools"]["packages"]
    missing, gone = sorted({*repo.packages()} - {*listed}), sorted({*listed} - {*repo.packages()})
    assert not missing, f"add to [tool.setuptools] packages in pyproject.toml: {missing}"
    assert not gone, f"no Python source there; remove from packages in pyproject.toml: {gone}"
    assert listed == sorted(listed), "keep packages in pyproject.toml sorted"


def test_every_package_has_an_init_and_every_folder_is_typed() -> None:
    names = {one.name for one in repo.modules() if one.is_package}
    missing = sorted(set(repo.packages()) - names)
    assert not missing, f"add an __init__.py (a docstring is enough): {missing}"
    for folder in repo.FOLDERS:
        assert f"{folder}/py.typed" in repo.files(), f"add an empty {folder}/py.typed"


def test_the_links_for_type_checkers_point_at_the_folders() -> None:
    found = {path.name: os.readlink(path) for path in (repo.ROOT / ".ns/shardmq").iterdir()}
    assert found == {folder: f"../../{folder}" for folder in repo.FOLDERS}


def test_tests_are_no_packages_and_their_helpers_live_in_support() -> None:
    for path in repo.python_files():
        directory, _, file = path.rpartition("/")
        if not path.startswith("tests/") or directory == "tests/support":
            continue
        assert file != "__init__.py", f"remove {path}: tests are collected by path, not as packages"
        if directory == "tests" or directory.startswith(("tests/unit", "tests/e2e")):
            assert re.match(r"test_\w+\.py|conftest\.py", file), f"move {path} to tests/support/"


# ------------------------------------------------------------------------------- unit tests


def has_behaviour(source: ast.Module) -> bool:
    """Whether any function does something: declarations, structs and protocols do not."""
    for node in ast.walk(source):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if any(not _declares(statement) for statement in node.body):
                return True
    return False


def _declares(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def mirror_names(module: Module, same_name: int) -> list[str]:
    """Where the unit tests of a module may stand; `same_name` modules of its folder share its name.

    shards/log/record.py -> tests/unit/shards/log/test_record.py, or flat with its directory in the
    name, or flat without it if no other module of the folder is called so.
    """
    folder, *between, file = module.path.removesuffix(".py").split("/")
    deep = "/".join(["tests/unit", folder, *between, f"test_{file}"])
    flat = [f"tests/unit/{folder}/test_{'_'.join([*between, file])}"]
    if same_name == 1:
        flat.append(f"tests/unit/{folder}/test_{file}")
    return list(dict.fromkeys([deep, *flat]))


def _mirrors() -> dict[Module, list[str]]:
    plain = [one for one in repo.modules() if not one.is_package]
    stems = Counter((one.folder, one.path.rpartition("/")[2]) for one in plain)
    return {
        one: mirror_names(one, stems[one.folder, one.path.rpartition("/")[2]])
        for one in plain
        if not one.path.endswith("/__main__.py")
    }


def owners(test: str, mirrors: dict[Module, list[str]]) -> list[Module]:
    """The modules that a file test_<module>[_<topic>].py belongs to: the longest name wins."""
    stem = test.removesuffix(".py")
    fits = {
        module: max(map(len, own))
        for module, names in mirrors.items()
        if (own := [name for name in names if stem == name or stem.startswith(f"{name}_")])
    }
    return [module for module, length in fits.items() if length == max(fits.values())]


def test_every_module_with_behaviour_has_its_own_unit_tests() -> None:
    mirrors = _mirrors()
    tested = {one for path in _unit_tests() for one in owners(path, mirrors)}
    faults = []
    for module, names in mirrors.items():
        if module.path in WITHOUT_UNIT_TEST and module in tested:
            faults.append(f"{module.path}: has a unit test now; remove it from WITHOUT_UNIT_TEST")
        elif module not in tested and module.path not in WITHOUT_UNIT_TEST:
            if has_behaviour(repo.tree(module.path)):
                faults.append(f"{module.path}: write {names[-1]}.py")
    advice = "(a thin shell: name its proof in WITHOUT_UNIT_TEST of tests/test_layout.py)"
    assert not faults, "\n".join(["", *faults, advice])
    stale = sorted(set(WITHOUT_UNIT_TEST) - {one.path for one in repo.modules()})
    assert not stale, f"WITHOUT_UNIT_TEST names modules that are gone: {stale}"


def test_every_unit_test_mirrors_a_module() -> None:
    mirrors = _mirrors()
    lost = [path for path in _unit_tests() if not owners(path, mirrors)]
    assert not lost, f"test_<module>.py or test_<module>_<topic>.py of an existing module: {lost}"


def _unit_tests() -> list[str]:
    return [p for p in repo.python_files() if p.startswith("tests/unit/") and "/test_" in p]


# ------------------------------------------------------------------------------- what is installed


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy: in place, setuptools would pick up what an old build/ left."""
    source = tmp_path_factory.mktemp("source")
    for name in repo.files():
        if name.split("/")[0] in (*repo.FOLDERS, "pyproject.toml", "LICENSE", "README.md"):
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repo.ROOT / name, target)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps"]
    command += ["--no-index", "--wheel-dir", str(out), str(source)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=out)
    assert run.returncode == 0, run.stdout + run.stderr
    [built] = out.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if not name.endswith("/")}
    version = repo.pyproject()["project"]["version"]
    package = {name for name in inside if not name.startswith(f"shardmq-{version}.dist-info/")}
    wanted = {
        f"shardmq/{name}"
        for name in repo.files()
        if name.split("/")[0] in repo.FOLDERS
        if name.endswith((".py", "/py.typed")) or "/static/" in name
    }
    assert package - wanted == set(), "only shardmq/ may land in site-packages"
    assert wanted - package == set(), "the wheel misses these; see package-data in pyproject.toml"


def test_every_module_of_the_wheel_can_be_imported(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    names = [one.name for one in repo.modules() if not one.path.endswith("/__main__.py")]
    program = (
        "import importlib, sys, threading\n"
        "for name in sys.argv[2:]:\n"
        "    module = importlib.import_module(name)\n"
        "    assert module.__file__.startswith(sys.argv[1]), module.__file__\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(tmp_path), *names],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "", "importing is free: no output, no threads"


def test_the_console_script_exists() -> None:
    target = repo.pyproject()["project"]["scripts"]["shardmq"]
    name, _, attribute = target.partition(":")
    module = __import__(name, fromlist=[attribute])
    assert callable(getattr(module, attribute)), target


def test_every_dependency_has_its_line_in_the_document() -> None:
    project = repo.pyproject()["project"]
    wanted = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        wanted += extra
    named = {re.split(r"[^\w.\-]", line, maxsplit=1)[0] for line in wanted}
    rows = re.findall(r"^\| `([\w.\-]+)` \(", repo.text("docs/dependencies.md"), re.MULTILINE)
    assert sorted(rows) == sorted(named), "one row a package in docs/dependencies.md"


# ------------------------------------------------------------- each check shown what it is for


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import router.broker", "second copy"),
        ("from client import Message", "second copy"),
        ("from shardmq.shards.log import record", "relative inside a folder"),
        ("from ..actors import kernel", "absolute across folders"),
        ("from .... import kernel", "too many dots"),
        ("from shardmq.router import broker", "shards may not import router"),
        ("from shardmq.client import core", "shards may not import client"),
    ],
)
def test_a_wrong_import_is_seen(source: str, expected: str) -> None:
    module = Module("shards/shard.py", "shardmq.shards.shard")
    faults = import_faults(module, ast.parse(source))
    assert any(expected in fault for fault in faults), faults


def test_right_imports_pass() -> None:
    module = Module("shards/log/record.py", "shardmq.shards.log.record")
    source = (
        "import zmq\nfrom shardmq.actors.protocol import codes\nfrom . import x\nfrom .. import y"
    )
    assert import_faults(module, ast.parse(source)) == []
    assert bare_imports("scripts/x.py", ast.parse("import router")) != []
    assert bare_imports("scripts/x.py", ast.parse("import shardmq.router")) == []


def test_declarations_need_no_unit_test_and_behaviour_does() -> None:
    assert not has_behaviour(ast.parse("X = 1\nclass A(Protocol):\n    def f(self): ...\n"))
    assert has_behaviour(ast.parse("def f():\n    'Doc.'\n    return 1\n"))


def test_a_module_mirrors_to_its_own_name_only() -> None:
    module = Module("client/aio/producer.py", "shardmq.client.aio.producer")
    deep, flat = "tests/unit/client/aio/test_producer", "tests/unit/client/test_aio_producer"
    assert mirror_names(module, same_name=2) == [deep, flat]
    assert mirror_names(module, same_name=1) == [deep, flat, "tests/unit/client/test_producer"]


def test_a_unit_test_belongs_to_the_module_with_the_longest_fitting_name() -> None:
    names = ("queue", "queue_index")
    modules = [Module(f"shards/state/{n}.py", f"shardmq.shards.state.{n}") for n in names]
    mirrors = {one: mirror_names(one, same_name=1) for one in modules}
    assert owners("tests/unit/shards/test_queue_limits.py", mirrors) == [modules[0]]
    assert owners("tests/unit/shards/state/test_queue_index_limits.py", mirrors) == [modules[1]]
    assert owners("tests/unit/shards/test_queues.py", mirrors) == []
