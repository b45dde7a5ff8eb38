"""State records for people: what a shard decided, with the names of all fields.

Owns the form. Knows no log; that a record is a shard's is for the caller to know, because other
actors' journals have records of their own under the same tags.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .state.records import decode_state

__all__ = ["named_state"]


def named_state(payload: bytes) -> dict[str, Any]:
    """The fields of a state record by name, the first being what it is; defaults are left out.

    Raises:
        msgspec.MsgspecError: a newer version wrote it.
    """
    state = decode_state(payload)
    return {"state": type(state).__name__, **_named(state)}


def _named(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        found = [(field, getattr(value, field.name)) for field in msgspec.structs.fields(value)]
        return {field.name: _named(one) for field, one in found if one != _default_of(field)}
    if isinstance(value, list | tuple):
        return [_named(one) for one in value]
    return value


def _default_of(field: msgspec.structs.FieldInfo) -> Any:
    factory = field.default_factory
    return field.default if factory is msgspec.NODEFAULT else factory()
