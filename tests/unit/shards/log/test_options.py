"""Options of a journal."""

from __future__ import annotations

from typing import Any

import pytest

from shardmq.shards.log.options import JournalOptions


def test_the_defaults_fit_each_other() -> None:
    options = JournalOptions(directory="/d")
    assert options.unsynced_bytes_max <= options.segment_bytes


@pytest.mark.parametrize(
    "wrong",
    [
        {"directory": ""},
        {"segment_bytes": 100},
        {"segment_records": 2},
        {"reserve_bytes": 1 << 30},
        {"slice_bytes": 0},
        {"indexes_cached": 0},
        {"files_open_max": 1},
    ],
)
def test_options_that_contradict_each_other_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        JournalOptions(**{"directory": "/d", **wrong})
