"""The golden bytes of docs/format.md.

Owns reading the page; compares nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["golden"]

PAGE = Path(__file__).parents[2] / "docs" / "format.md"


def golden(heading: str) -> bytes:
    """The hex dump under a third-level heading."""
    section = PAGE.read_text().partition(f"### {heading}\n")[2]
    block = section.partition("```hex\n")[2].partition("```")[0]
    return bytes.fromhex(re.sub(r"#.*", "", block))
