"""Settings as the command line finds them: file, environment, flags.

Owns: which file is read and what a flag sets. The rules of the layers are in `router/config.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from ..config import ConfigError, Resolved, environment_layer, file_layer, flag_layer, resolve

__all__ = ["CONFIG_VARIABLE", "DEFAULT_FILE", "load_settings", "settings_options"]

CONFIG_VARIABLE = "SHARDMQ_CONFIG"
DEFAULT_FILE = "shardmq.toml"

F = TypeVar("F", bound=Callable[..., Any])

# Parameter of the command -> (setting, flag as it is written)
_FLAGS = {
    "listen": ("broker.listen", "--listen"),
    "data": ("broker.data", "--data"),
    "shards": ("broker.shards", "--shards"),
    "routers": ("broker.routers", "--routers"),
    "auto_create": ("broker.auto_create", "--auto-create"),
    "retention": ("retention.age", "--retention"),
    "retention_size": ("retention.size", "--retention-size"),
    "log_level": ("log.level", "--log-level"),
    "log_format": ("log.format", "--log-format"),
}

_OPTIONS = (
    click.option("--config", "config_file", metavar="FILE", envvar=CONFIG_VARIABLE,
                 show_envvar=True,
                 help=f"TOML file of settings; default is {DEFAULT_FILE}, if it is there."),
    click.option("--listen", metavar="ADDRESS",
                 help="Listen here: 5680, 127.0.0.1:5680 or tcp://127.0.0.1:5680; port 0 is a"
                 " free one."),
    click.option("--data", metavar="DIRECTORY", help="Keep everything durable here."),
    click.option("--shards", metavar="N", help="Shard processes; 0 is one per core."),
    click.option("--routers", metavar="N", help="Router processes that share the port."),
    click.option("--auto-create/--no-auto-create", default=None,
                 help="Create a topic when a producer first sends to it."),
    click.option("--retention", metavar="DURATION", help="Keep messages for so long: 72h, 7d."),
    click.option("--retention-size", metavar="SIZE", help="Keep so much on each shard: 50GiB."),
    click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error."),
    click.option("--log-format", metavar="FORMAT", help="auto, text or json."),
)  # fmt: skip


def settings_options(function: F) -> F:
    """The flags that set settings, and --config."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def load_settings(config_file: str | None, flags: dict[str, Any]) -> Resolved:
    """The settings in force.

    Raises:
        ConfigError: the file is missing or any layer is wrong.
    """
    named = {_FLAGS[name][0]: (value, _FLAGS[name][1]) for name, value in flags.items()}
    if flags.get("listen"):
        named["broker.listen"] = (full_address(flags["listen"]), "--listen")
    layers = [environment_layer(os.environ), flag_layer(named)]
    path = Path(config_file or DEFAULT_FILE)
    if config_file or path.exists():
        layers.insert(0, file_layer(_text_of(path), str(path)))
    return resolve(layers)


def full_address(text: str) -> str:
    """`5680` and `127.0.0.1:5680` as `tcp://127.0.0.1:5680`; anything with a scheme as it is."""
    if "://" in text:
        return text
    return f"tcp://127.0.0.1:{text.lstrip(':')}" if ":" not in text.lstrip(":") else f"tcp://{text}"


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        hint = "docs/configuration.md shows what stands in it"
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8", "save it as UTF-8") from None
