"""docs/protocol.md: its tables are the code's, and so are the numbers in its sentences."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from shardmq.actors.protocol import limits
from support import repo
from support.scripts import load_script

PAGE = "docs/protocol.md"
NUMBERS = {
    f"at most {limits.REQUEST_QUEUES_MAX + 2:,} frames": "a request's frames",
    f"1 to {limits.DEADLINE_MS_MAX:,} ms": "the deadline",
    f"silent for {limits.SESSION_IDLE_MS // 1_000} s": "the end of a session",
    f"and {limits.WAIT_MS_MAX // 1_000} s, and the request's deadline": "a parked poll",
    f"mod {limits.SLOTS}": "the slots",
    f"at most {limits.KEYS_MAX} |": "keys of a message",
    f"{limits.META_BYTES_MAX // limits.MIB} MiB of meta": "the worst meta",
    f"A header is at most {limits.HEADER_BYTES_MAX // limits.MIB} MiB": "a header",
}


def test_writing_the_tables_again_changes_nothing() -> None:
    command = [sys.executable, str(repo.ROOT / "scripts/protocol_docs.py"), "--check"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("sentence", NUMBERS, ids=list(NUMBERS.values()))
def test_a_number_in_a_sentence_is_the_codes(sentence: str) -> None:
    assert sentence in " ".join(repo.text(PAGE).split())


def test_every_link_inside_the_page_leads_somewhere() -> None:
    text = repo.text(PAGE)
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def test_a_mark_that_is_missing_is_said() -> None:
    script = load_script("scripts/protocol_docs.py")
    with pytest.raises(SystemExit, match="exactly one pair"):
        script.page("# no marks at all")
