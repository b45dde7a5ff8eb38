"""Settings of a broker: what there is, what it means, where each value came from.

Owns: the settings structs (their descriptions become docs/configuration.md), the layers and the
checks. Must not read files or the environment: texts and mappings are handed in.

A value comes from the last of these layers that names it:

    default  <  file (TOML)  <  environment (SHARDMQ__SECTION__KEY)  <  flag

Each layer is checked by itself, so that an error names the layer, the place in it and what would be
right. A key that no setting has is an error too: a typo must not silently keep the default.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from .quantities import QuantityError, bytes_of, seconds_of

__all__ = [
    "ENVIRONMENT_PREFIX",
    "BrokerSettings",
    "ConfigError",
    "LogSettings",
    "Resolved",
    "RetentionSettings",
    "Setting",
    "Settings",
    "all_settings",
    "environment_layer",
    "file_layer",
    "flag_layer",
    "resolve",
]

ENVIRONMENT_PREFIX = "SHARDMQ__"


class ConfigError(ValueError):
    """Settings that cannot be used; `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class BrokerSettings(_Section, frozen=True, kw_only=True):
    """Processes and where they listen."""

    listen: Annotated[
        str,
        Meta(description="Address that clients connect to. Port 0 takes a free one. Until access"
             " control exists only loopback addresses are accepted."),
    ] = "tcp://127.0.0.1:5680"  # fmt: skip
    data: Annotated[str, Meta(description="Directory of all durable state, made if missing.")] = (
        "./shardmq-data"
    )
    shards: Annotated[
        int,
        Meta(ge=0, le=256, description="Shard processes; 0 means one per core. A data directory"
             " keeps the number it was made with."),
    ] = 0  # fmt: skip
    routers: Annotated[
        int,
        Meta(ge=0, le=64, description="Router processes that share the port; 0 means one up to"
             " four cores, then one for every four."),
    ] = 0  # fmt: skip
    auto_create: Annotated[
        bool, Meta(description="Create a topic when a producer first sends to it.")
    ] = False


class RetentionSettings(_Section, frozen=True, kw_only=True):
    """When old messages go. Consuming never deletes; whole segments go when they are due."""

    age: Annotated[
        str, Meta(description="Keep messages for so long: `72h`, `7d`. `0` keeps them for ever.")
    ] = "72h"
    size: Annotated[
        str, Meta(description="Keep so much on each shard: `50GiB`. `0` sets no bound.")
    ] = "0"

    @property
    def age_ms(self) -> int:
        return round(seconds_of(self.age) * 1000)

    @property
    def size_bytes(self) -> int:
        return bytes_of(self.size)


class LogSettings(_Section, frozen=True, kw_only=True):
    """What the broker writes to standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least severe line written.")
    ] = "info"
    format: Annotated[
        Literal["auto", "text", "json"],
        Meta(description="`text` for people, `json` for one JSON object a line; `auto` is `text`"
             " on a terminal and `json` elsewhere."),
    ] = "auto"  # fmt: skip


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings, by section."""

    broker: BrokerSettings = BrokerSettings()
    retention: RetentionSettings = RetentionSettings()
    log: LogSettings = LogSettings()


class Setting(NamedTuple):
    """One setting as the documents and the checks see it."""

    section: str
    key: str
    kind: Any
    default: Any
    description: str
    section_about: str

    @property
    def path(self) -> str:
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        return f"{ENVIRONMENT_PREFIX}{self.section}__{self.key}".upper()

    def kind_is(self, kind: type) -> bool:
        return bool(getattr(self.kind, "__origin__", None) is kind)


class Layer(NamedTuple):
    """Values of one source: setting path -> (value, where exactly it stands)."""

    values: dict[str, tuple[Any, str]]


class Resolved(NamedTuple):
    """The settings in force, and for each path the place that its value came from."""

    settings: Settings
    sources: dict[str, str]


def all_settings() -> list[Setting]:
    """Every setting there is, in the order of the documents."""
    found = []
    for section in msgspec.structs.fields(Settings):
        about = (section.type.__doc__ or "").strip()
        for field in msgspec.structs.fields(section.type):
            description = field.type.__metadata__[0].description or ""
            assert description, f"{section.name}.{field.name} has a description"
            found.append(
                Setting(section.name, field.name, field.type, field.default, description, about)
            )
    return found


def file_layer(text: str, name: str) -> Layer:
    """The layer of a TOML file's `text`; `name` stands in the messages.

    Raises:
        ConfigError: no TOML, an unknown section or key, a wrong value.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is no TOML: {error}", "see https://toml.io") from None
    sections = {setting.section for setting in all_settings()}
    pairs = []
    for section, content in tree.items():
        if section not in sections or not isinstance(content, dict):
            hint = f"sections are {_listed(f'[{one}]' for one in sections)}"
            raise ConfigError(f"{name}: there is no section [{section}]", hint)
        for key, value in content.items():
            pairs.append((f"{section}.{key}", value, f"file {name}"))
    return _layer(pairs, strict=True)


def environment_layer(environment: Mapping[str, str]) -> Layer:
    """The layer of all `SHARDMQ__SECTION__KEY` variables.

    Raises:
        ConfigError: a variable names no setting, or holds a wrong value.
    """
    pairs: list[tuple[str, Any, str]] = []
    for variable, value in sorted(environment.items()):
        if variable.startswith(ENVIRONMENT_PREFIX):
            path = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
            pairs.append((path, value, f"environment {variable}"))
    return _layer(pairs, strict=False)


def flag_layer(flags: Mapping[str, tuple[Any, str]]) -> Layer:
    """The layer of command line flags: setting path -> (value or None, flag).

    Raises:
        ConfigError: a wrong value.
    """
    given = [(path, value, f"flag {flag}") for path, (value, flag) in flags.items()]
    return _layer([one for one in given if one[1] is not None], strict=False)


def resolve(layers: Iterable[Layer]) -> Resolved:
    """The settings when later layers win over earlier ones and over the defaults.

    Raises:
        ConfigError: the values contradict each other.
    """
    values: dict[str, dict[str, Any]] = {}
    sources = {setting.path: "default" for setting in all_settings()}
    for layer in layers:
        for path, (value, source) in layer.values.items():
            section, _, key = path.partition(".")
            values.setdefault(section, {})[key] = value
            sources[path] = source
    return Resolved(msgspec.convert(values, Settings), sources)


def _layer(pairs: Iterable[tuple[str, Any, str]], *, strict: bool) -> Layer:
    known = {setting.path: setting for setting in all_settings()}
    values: dict[str, tuple[Any, str]] = {}
    for path, raw, source in pairs:
        setting = known.get(path)
        if setting is None:
            raise ConfigError(f"{source}: there is no setting {path}", _nearest(path, known))
        values[path] = (_checked(setting, raw, source, strict=strict), source)
    return Layer(values)


def _checked(setting: Setting, raw: Any, source: str, *, strict: bool) -> Any:
    try:
        value = msgspec.convert(raw, setting.kind, strict=strict)
        if setting.path == "retention.age":
            seconds_of(value)
        elif setting.path == "retention.size":
            bytes_of(value)
    except (msgspec.ValidationError, QuantityError) as error:
        reason = re.sub(r"\bint\b", "number", str(error)[:1].lower() + str(error)[1:])
        shown = f"{source}: {setting.path} cannot be {raw!r}: {reason}"
        raise ConfigError(shown, setting.description) from None
    return value


def _nearest(path: str, known: Mapping[str, Setting]) -> str:
    section = path.partition(".")[0]
    beside = [one for one in known if one.startswith(section + ".")] or list(known)
    return f"settings are {_listed(beside)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
