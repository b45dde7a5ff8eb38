"""The port to the files."""

from __future__ import annotations

import errno

import pytest

from shardmq.shards.log.io import is_disk_full


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_is_a_state_that_passes(number: int) -> None:
    assert is_disk_full(OSError(number, "x"))


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ENOENT])
def test_any_other_failure_is_not(number: int) -> None:
    assert not is_disk_full(OSError(number, "x"))
