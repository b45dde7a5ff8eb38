"""Names of a log's files."""

from __future__ import annotations

import pytest

from shardmq.shards.log import names


@pytest.mark.parametrize("base", [0, 1, 134_217_728, 10**19])
def test_a_name_gives_its_number_back(base: int) -> None:
    assert names.base_of(names.log_name(base)) == base
    assert names.base_of(names.index_name(base), names.INDEX_SUFFIX) == base


@pytest.mark.parametrize(
    "name", ["", "LOCK", "next.tmp", "1.log", "0000000000000000000x.log", "²" * 20 + ".log",
             f"{1:020d}.idx", f"{1:020d}", f"{1:020d}.log.tmp"],
)  # fmt: skip
def test_other_names_are_no_segments(name: str) -> None:
    assert names.base_of(name) is None


def test_names_sort_as_their_numbers() -> None:
    bases = [0, 9, 10, 99, 10**9, 10**18]
    assert sorted(map(names.log_name, bases)) == [names.log_name(base) for base in bases]


def test_a_set_aside_file_names_its_position_and_epoch() -> None:
    name = names.set_aside_name(4711, 12, 4000)
    assert name.startswith(f"{4711:020d}-")
    assert names.epoch_of(f"/log/set-aside/{name}.pending") == 12
    assert names.durable_of(f"/log/set-aside/{name}.pending") == 4000
    assert names.lsn_of(f"/log/set-aside/{name}.pending") == 4711
    assert names.path_of("/log", "LOCK") == "/log/LOCK"
