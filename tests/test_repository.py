"""Files that are not Python keep their rules, too: documents, scripts, sizes, permissions.

Owns: changelog shape, links between documents, what no file may mention, executable bits, and that
every script explains itself. Rules of Python source are in test_tidy.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import repo, tidy

BLOB_BYTES_MAX = 4 * 1024 * 1024  # the flights are 2.9 MB; a repository is no file store
SCRIPTS = tuple(
    name
    for name in repo.python_files()
    if name.startswith("scripts/") and "__main__" in repo.text(name)
)

# What belongs to the machine on which something was written. Put together from pieces, so that
# this file does not hold what it looks for.
_MACHINE = re.compile(
    r"(?<![\w.~-])/(?:" + r"work|root|home/\w+|tmp/bash\w*|opt/wheels)(?=[/\s\"'`,;:)]|$)"
    r"|sub-?ag" + r"ent|--(?:extra-)?index-" + r"url|--trusted-" + r"host|--find-" + r"links",
    re.IGNORECASE | re.MULTILINE,
)


def changelog_faults(text: str, version: str) -> list[str]:
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    faults = []
    if not text.startswith("# Changelog\n"):
        faults.append("the first line is '# Changelog'")
    if headings[:1] != ["Upgrading"]:
        faults.append("the first section is '## Upgrading': what a running broker's owner must do")
    pattern = rf"(Unreleased: )?{re.escape(version)}( \(\d{{4}}-\d\d-\d\d\))?"
    if not any(re.fullmatch(pattern, heading) for heading in headings[1:2]):
        faults.append(f"the second section is '## Unreleased: {version}' or '## {version} (date)'")
    return faults


def heading_anchors(markdown: str) -> set[str]:
    """Anchors as GitHub makes them: lower case, punctuation dropped, spaces to hyphens."""
    anchors: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", _without_code(markdown), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 1
        while anchor in anchors and f"{anchor}-{number}" in anchors:
            number += 1
        anchors.add(f"{anchor}-{number}" if anchor in anchors else anchor)
    return anchors


def _without_code(markdown: str) -> str:
    return re.sub(r"^(```|~~~).*?^\1", "", markdown, flags=re.MULTILINE | re.DOTALL)


def link_faults(path: Path, root: Path) -> list[str]:
    """Links from one document to files and headings of the repository that are not there."""
    faults = []
    prose = re.sub(r"`[^`\n]*`", "", _without_code(path.read_text(encoding="utf-8")))
    targets = re.findall(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", prose)
    targets += re.findall(r"^\[[^\]]+\]: +(\S+)", prose, re.MULTILINE)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.is_relative_to(root) or not file.exists():
            faults.append(f"{path.relative_to(root)}: {target} is not a file of the repository")
        elif anchor and file.suffix == ".md":
            if anchor not in heading_anchors(file.read_text(encoding="utf-8")):
                faults.append(f"{path.relative_to(root)}: {target} names no heading")
    return faults


def machine_traces(path: str, text: str) -> list[str]:
    return [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}; say it without"
        " the machine it was written on"
        for match in _MACHINE.finditer(text)
    ]


def mode_fault(path: str, first_bytes: bytes, executable: bool) -> str:
    shebang = first_bytes.startswith(b"#!")
    if shebang and not executable:
        return f"{path}: starts with #! but may not be executed; chmod +x, git add"
    if executable and not shebang:
        return f"{path}: may be executed but has no #! line; chmod -x, git add"
    return ""


def _texts() -> list[tuple[str, str]]:
    found = []
    for name in repo.files():
        raw = (repo.ROOT / name).read_bytes()
        if b"\0" not in raw[:8192] and not name.startswith(".ns/"):
            found.append((name, raw.decode("utf-8")))
    return found


def test_the_changelog_opens_with_upgrading_and_then_this_version() -> None:
    version = repo.pyproject()["project"]["version"]
    faults = changelog_faults(repo.text("CHANGELOG.md"), version)
    assert not faults, f"CHANGELOG.md: {faults}"


def test_links_between_documents_lead_somewhere() -> None:
    documents = [repo.ROOT / name for name in repo.files() if name.endswith(".md")]
    faults = [fault for path in documents for fault in link_faults(path, repo.ROOT)]
    assert not faults, "\n".join(["", *faults])


def test_no_file_is_too_large_for_a_repository() -> None:
    large = {
        n: size for n in repo.files() if (size := os.path.getsize(repo.ROOT / n)) > BLOB_BYTES_MAX
    }
    assert not large, f"over {BLOB_BYTES_MAX} bytes, generate it or fetch it instead: {large}"


def test_no_file_tells_of_the_machine_it_was_written_on() -> None:
    traces = [trace for name, text in _texts() for trace in machine_traces(name, text)]
    assert not traces, "\n".join(["", *traces])


def test_documents_hold_no_leftover_markers() -> None:
    texts = [(name, text) for name, text in _texts() if not name.endswith((".py", "LICENSE"))]
    found = [finding for name, text in texts for finding in tidy.text_markers(name, text)]
    assert not found, "\n".join(["", *found])


def test_files_may_be_executed_exactly_if_they_name_an_interpreter() -> None:
    faults = []
    for name in repo.files():
        path = repo.ROOT / name
        with path.open("rb") as file:
            faults.append(mode_fault(name, file.read(2), bool(path.stat().st_mode & 0o111)))
    assert not any(faults), "\n".join(["", *filter(None, faults)])


def test_ci_runs_make_test_and_nothing_else() -> None:
    assert os.access(repo.ROOT / ".ci/run", os.X_OK), "chmod +x .ci/run"
    made = [line for line in repo.text(".ci/run").splitlines() if "make" in line.split("#")[0]]
    assert made == ["exec make test </dev/null"], made


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_answers_help(script: str) -> None:
    run = subprocess.run(
        [sys.executable, script, "--help"],
        cwd=repo.ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 0, f"{script} --help: {run.returncode}\n{run.stderr}"
    assert "usage" in run.stdout.lower(), f"{script} --help prints no usage:\n{run.stdout}"


# ------------------------------------------------------------- each check shown what it is for


@pytest.mark.parametrize(
    "text",
    [
        "# Changes\n## Upgrading\n## 1.0",
        "# Changelog\n## 1.0\n## Upgrading",
        "# Changelog\n## Upgrading\n## 0.9",
    ],
)
def test_a_misshapen_changelog_is_seen(text: str) -> None:
    assert changelog_faults(text, "1.0")
    assert not changelog_faults("# Changelog\n## Upgrading\n## 1.0 (2026-01-31)\n", "1.0")


def test_a_dead_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# The `way`, of a message\n[a](#the-way-of-a-message) [b](gone.md) [c](#gone)\n"
        "`[d](code.md)` [e](https://example.org/x)\n```\n[f](fenced.md)\n```\n[g]: also-gone.md\n"
    )
    assert [fault.split()[1] for fault in link_faults(page, tmp_path)] == [
        "gone.md",
        "#gone",
        "also-gone.md",
    ]


def test_traces_of_a_machine_are_seen() -> None:
    for trace in ("/wor" + "k/main", "cd /roo" + "t", "a sub" + "agent", "--index-" + "url x"):
        assert machine_traces("x", f"one\n{trace}\n") != [], trace
    assert machine_traces("x", "client/work/queue, ~/root, https://a.example/home, /tmp/x") == []


def test_wrong_permissions_are_seen() -> None:
    assert mode_fault("x", b"#!", executable=False)
    assert mode_fault("x", b"im", executable=True)
    assert not mode_fault("x", b"#!", executable=True)
    assert not mode_fault("x", b"im", executable=False)
