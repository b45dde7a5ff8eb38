"""`shardmq config`: the settings in force, and where each comes from."""

from __future__ import annotations

from typing import Any

import rich_click as click

from ..config import all_settings
from .options import output_option
from .output import Form, print_list
from .settings import load_settings, settings_options

__all__ = ["command"]


@click.group("config")
def command() -> None:
    """Show the settings of a broker.

    Values come, in rising order, from defaults, a TOML file, the environment
    (SHARDMQ__SECTION__KEY) and flags.

    \b
    Examples:
    $ shardmq config show
    $ SHARDMQ__BROKER__SHARDS=4 shardmq config show --config prod.toml -o json
    """


@command.command("show")
@settings_options
@output_option
def show(config_file: str | None, form: Form, **flags: Any) -> None:
    """Show each setting's value and where it comes from.

    Takes the same flags, file and environment as `serve`, so that `config show` in place of
    `serve` tells what a start would use.

    \b
    Examples:
    $ shardmq config show
    $ shardmq config show --config prod.toml --shards 8
    $ shardmq config show -o json
    """
    resolved = load_settings(config_file, flags)
    rows = []
    for setting in all_settings():
        value = getattr(getattr(resolved.settings, setting.section), setting.key)
        rows.append(
            {"setting": setting.path, "value": value, "source": resolved.sources[setting.path]}
        )
    print_list(rows, form)
