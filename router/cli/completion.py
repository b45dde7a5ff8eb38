"""`shardmq completion`: the script that makes a shell complete commands, options and topics."""

from __future__ import annotations

import rich_click as click
from click.shell_completion import get_completion_class

__all__ = ["command"]

_VARIABLE = "_SHARDMQ_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Examples:
    $ shardmq completion bash > ~/.local/share/bash-completion/completions/shardmq
    $ shardmq completion zsh  > "${fpath[1]}/_shardmq"
    $ shardmq completion fish > ~/.config/fish/completions/shardmq.fish
    $ source <(shardmq completion bash)                 for this shell only

    Names of topics are completed, too, when a broker answers at --url or SHARDMQ_URL.
    """
    from .main import cli

    kind = get_completion_class(shell)
    assert kind is not None, "the choice names shells that click knows"
    print(kind(cli, {}, "shardmq", _VARIABLE).source())
