"""What `serve` does before there is a broker; the rest is in tests/e2e/test_cli_serve.py."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from shardmq.router.cli.serve import raise_descriptor_limit


@pytest.fixture(autouse=True)
def _limits_as_before() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_descriptor_limit_is_raised_as_far_as_allowed() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    raised = raise_descriptor_limit()
    allowed = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    assert raised == allowed
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (allowed, hard)


def test_a_higher_limit_is_left_alone() -> None:
    raise_descriptor_limit()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert raise_descriptor_limit() == soft
