"""How `consume` prints an array: complete as soon as reading ends, however it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from shardmq.router.cli.consume import _print
from shardmq.router.cli.messages import formatter
from support.received import Letter


def cut_short(count: int) -> Iterator[Letter]:
    for number in range(count):
        yield Letter(offset=number)
    raise KeyboardInterrupt


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_array_that_ctrl_c_cuts_short_holds_what_was_read(
    count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _print(cut_short(count), formatter("json"), "json")
    printed = json.loads(capsys.readouterr().out)
    assert [one["offset"] for one in printed] == list(range(count))


def test_an_array_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    _print([Letter(offset=0), Letter(offset=1)], formatter("json"), "json")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert [one["offset"] for one in json.loads("".join(lines))] == [0, 1]
