#!/usr/bin/env python
"""Writes docs/configuration.md from the settings structs, or checks that it is up to date.

scripts/config_docs.py            write the page
scripts/config_docs.py --check    exit 1 if the page differs from what would be written
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, get_args, get_origin

from shardmq.router.config import Setting, all_settings

PAGE = Path(__file__).resolve().parents[1] / "docs/configuration.md"

INTRODUCTION = """\
# Configuration

This page is written by `scripts/config_docs.py` from `router/config.py`; do not edit it by hand.

A value comes from the last of these that names it:

1. the default below;
2. a TOML file: `--config FILE`, else `SHARDMQ_CONFIG`, else `shardmq.toml` in the current directory
   if it is there;
3. the environment: `SHARDMQ__SECTION__KEY`;
4. a flag of `shardmq serve`.

`shardmq config show` takes the same flags as `serve` and prints each value with the place that it
comes from. A key that does not exist is an error, in every layer. Nothing is read again while the
broker runs: stop it and start it.

```toml
# shardmq.toml
[broker]
listen = "tcp://127.0.0.1:5680"
data = "/var/lib/shardmq"
shards = 4

[retention]
age = "7d"
size = "50GiB"
```

Commands that talk to a broker know one variable: `SHARDMQ_URL`, the default of `--url`.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    section = ""
    for setting in all_settings():
        if setting.section != section:
            section = setting.section
            parts.append(
                f"\n## [{section}]\n\n{setting.section_about}\n\n"
                "| key | type | default | environment | meaning |\n|---|---|---|---|---|\n"
            )
        parts.append(row(setting))
    return "".join(parts)


def row(setting: Setting) -> str:
    """The line of one setting."""
    default = str(setting.default).lower() if setting.kind_is(bool) else setting.default
    return (
        f"| `{setting.key}` | {kind_text(setting.kind)} | `{default}` | `{setting.variable}` |"
        f" {setting.description} |\n"
    )


def kind_text(kind: Any) -> str:
    """The type in words: `number, 0 to 256`, `yes or no`, one of some words, or text."""
    base, meta = get_args(kind)[:2]
    if get_origin(base) is not None:
        return ", ".join(f"`{word}`" for word in get_args(base))
    if base is bool:
        return "`true` or `false`"
    if base is int:
        return f"number, {meta.ge} to {meta.le}"
    return "text"


def main() -> None:
    """Writes or checks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.exit(f"{PAGE.name} is out of date: run scripts/config_docs.py")


if __name__ == "__main__":
    main()
