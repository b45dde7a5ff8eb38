"""The summary of `serve`: where it listens, where the data is, how to send the first message."""

from __future__ import annotations

from shardmq.router.cli.banner import Summary, summary_text

FACTS = Summary(
    version="0.1.0",
    url="tcp://127.0.0.1:5680",
    data="shardmq-data",
    shards=2,
    routers=1,
    auto_create=False,
    retention_ms=72 * 3_600_000,
    retention_bytes=0,
    start_seconds=0.42,
    pid=4711,
)


def test_the_commands_can_be_copied_as_they_stand() -> None:
    lines = [line.strip() for line in summary_text(FACTS, colours=False).splitlines()]
    assert "shardmq topic create orders" in lines
    assert "shardmq send orders 'hello'" in lines
    assert "shardmq consume orders" in lines


def test_another_address_is_in_every_command() -> None:
    url = "tcp://127.0.0.1:7000"
    text = summary_text(FACTS._replace(url=url), colours=False)
    commands = [line for line in text.splitlines() if line.strip().startswith("shardmq ")]
    assert len(commands) == 3
    assert all(line.endswith(f"--url {url}") for line in commands)


def test_where_topics_make_themselves_no_command_makes_one() -> None:
    text = summary_text(FACTS._replace(auto_create=True), colours=False)
    assert "topic create" not in text
    assert "created when first used" in text


def test_facts_are_in_words() -> None:
    text = summary_text(FACTS, colours=False)
    assert "2 shards, 1 router, coordinator" in text
    assert "shardmq-data" in text
    assert "3 d" in text
    more = FACTS._replace(retention_ms=0, retention_bytes=2**30, shards=1)
    assert "for ever, at most 1 GiB a shard" in summary_text(more, colours=False)


def test_colours_are_only_for_terminals() -> None:
    assert "\x1b" not in summary_text(FACTS, colours=False)
    assert "\x1b[1m" in summary_text(FACTS, colours=True)
