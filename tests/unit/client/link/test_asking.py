"""Asked: all replies of one step, in order, or the first error."""

from __future__ import annotations

import pytest

from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol.verbs import Verb
from shardmq.client import errors
from shardmq.client.link.asking import Asked, Request
from support.clients import Wired

URL = "tcp://127.0.0.1:5680"


def test_replies_come_in_the_order_of_the_questions() -> None:
    wired = Wired()
    requests = [Request(Verb.STATS, m.StatsRequest(), shard) for shard in (1, 0)]
    asked = Asked(wired.core, requests, 1_000, wired.now)
    assert not asked.settled
    wired.run()
    assert asked.settled
    assert [reply.actor for reply in asked.replies()] == ["shard-1", "shard-0"]


def test_an_error_reply_is_the_exception_of_its_code() -> None:
    wired = Wired()
    asked = Asked(
        wired.core, [Request(Verb.TOPIC_DELETE, m.TopicDelete(topic="x"))], 1_000, wired.now
    )
    wired.run()
    with pytest.raises(errors.TopicNotFound):
        asked.replies()


def test_nobody_at_the_address_is_unavailable() -> None:
    wired = Wired(connected=False)
    asked = Asked(wired.core, [Request(Verb.TOPIC_LIST, m.TopicList())], 1_000, wired.now, url=URL)
    wired.advance(1_000)
    with pytest.raises(errors.Unavailable, match=f"no broker answered at {URL} in time"):
        asked.replies()
