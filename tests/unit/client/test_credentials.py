"""Credentials: none are fine, any are refused, since nobody would look at them."""

from __future__ import annotations

import pytest

from shardmq.client.credentials import check_credentials
from shardmq.client.errors import NotSupported


def test_none_are_fine() -> None:
    check_credentials(None)


@pytest.mark.parametrize("credentials", ["", "secret", ("ann", "secret"), False])
def test_any_are_refused(credentials: object) -> None:
    with pytest.raises(NotSupported, match="a later release"):
        check_credentials(credentials)
