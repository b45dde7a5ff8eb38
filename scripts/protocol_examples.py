"""Worked examples of the wire protocol: values, for `protocol_vectors.py` to write as frames.

Owns the examples of batches and of a request and its reply for each verb. Knows no files.
"""

from __future__ import annotations

import msgspec

from shardmq.actors.protocol import group_messages as g
from shardmq.actors.protocol import messages as m
from shardmq.actors.protocol import work_messages as w
from shardmq.actors.protocol.batch import BatchView, Columns, check_batch, encode_batch
from shardmq.actors.protocol.codes import Code
from shardmq.actors.protocol.compress import Compression
from shardmq.actors.protocol.frames import (
    SHARD_ANY,
    SHARD_COORDINATOR,
    SHARD_ROUTER,
    Route,
)
from shardmq.actors.protocol.plain import plain_messages
from shardmq.actors.protocol.verbs import Verb
from shardmq.router.reception import Identity, Reception
from shardmq.router.sessions import Sessions
from shardmq.shards.log.record import BATCH, LogRecord, encode_prefix

__all__ = [
    "BATCHES",
    "NOW_MS",
    "PRODUCER_ID",
    "batch_of",
    "exchanges",
    "plain_exchanges",
    "record_of",
]

NOW_MS = 1_767_225_600_000
PRODUCER_ID = 0x1D1C82A2BBC92821

BATCHES: dict[str, tuple[Columns, int]] = {
    "one message": (Columns([b"hello"]), 0),
    "three bodies of one length": (Columns([b"one", b"two", b"six"]), 0),
    "bodies of several lengths": (Columns([b"a", b"bc", b"def"]), 0),
    "tags, one message without": (Columns([b"1", b"2", b"3"], tags=["AA", None, "AA"]), 0),
    "keys and properties": (
        Columns([b"1", b"2"], keys=[["order-1", "paid"], []], properties=[{"zone": "eu"}, {}]),
        0,
    ),
    "ordering keys, tags and due times": (
        Columns([b"1", b"2"], tags=["t", "u"], ordering_keys=["N14228", None],
                due_times_ms=[NOW_MS + 60_000, 0]),
        0,
    ),
    "257 tags: indexes are two bytes wide": (
        Columns([b"x"] * 257, tags=[f"t{at}" for at in range(257)]), 0,
    ),
    "compressed with zstd": (
        Columns([b"the same again " * 20] * 4, properties=[{"kind": "compressible"}] * 4),
        Compression.ZSTD,
    ),
    "copies with their ids and offsets": (
        Columns([b"1", b"3"], message_ids=[f"{PRODUCER_ID:016x}{1:016x}",
                                           f"{PRODUCER_ID:016x}{3:016x}"],
                offset_deltas=[0, 2]),
        0,
    ),
}  # fmt: skip

ROUTE_OF_TOPIC = m.TopicRoute(
    topic="orders", topic_id=7, version=3, slots_version=1,
    queues=[m.QueueRoute(queue_id=0, number=12, shard=0),
            m.QueueRoute(queue_id=1, number=13, shard=1, writable=False)],
    slots=[0], created_at_ms=NOW_MS,
)  # fmt: skip


def batch_of(name: str) -> bytes:
    columns, compression = BATCHES[name]
    return encode_batch(
        columns, producer_id=PRODUCER_ID, first_sequence=1, first_born_ms=NOW_MS,
        last_born_ms=NOW_MS + 5, compression=compression,
    )  # fmt: skip


def record_of(batch: bytes) -> bytes:
    """A batch as a FETCH reply carries it: behind the prefix of the shard's log."""
    record = LogRecord(
        lsn=4_096, kind=BATCH, queue=12, base_offset=500, stored_at_ms=NOW_MS + 7, epoch=2,
        payload=batch, length=64 + len(batch), count=check_batch(batch).count, flags=0,
    )  # fmt: skip
    prefix, _ = encode_prefix(record, previous_crc=0, durable=4_096, covered=batch[8:12])
    return prefix + batch


class _NoChance:
    """Randomness port of a router that always draws the same."""

    def u64(self) -> int:
        return 0x00C0FFEE00C0FFEE

    def uniform(self, low: float, high: float) -> float:
        return low


def welcome() -> m.Welcome:
    """The WELCOME that a router really sends."""
    identity = Identity(name="router-0", version="0.1.0", pid=4711)
    reception = Reception(identity, Sessions(_NoChance()), epoch=1, shards=2)
    letter = reception.hello(b"peer", b"\x80", Route(Verb.HELLO, 0, SHARD_ANY, 1, 1_000), 0.0)
    return msgspec.msgpack.decode(letter[2][1], type=m.Welcome)


def exchanges() -> dict[Verb, tuple[int, m.Header, list[bytes], m.Header, list[bytes]]]:
    """For each verb: shard, request and its payload, reply and its payload."""
    tags = "tags, one message without"
    batch = batch_of(tags)
    topic = m.TopicReply(route=ROUTE_OF_TOPIC)
    any_, front = SHARD_ANY, SHARD_ROUTER
    stats = m.StatsReply(actor="router-0", pid=4711, figures={"sessions": 1, "drain": 2.5})
    produced = m.ProduceResult(queue=12, base_offset=500, stored_at_ms=NOW_MS + 7)
    fetched = m.FetchResult(queue=12, frames=1, next_offset=503, latest=503)
    wanted = m.OffsetsQueue(queue=12, time_ms=NOW_MS)
    held = m.OffsetsResult(queue=12, earliest=1, latest=503, at_time=500)
    hello = m.Hello(client="example", version="1.0", language="go")
    return {
        Verb.HELLO: (any_, hello, [], welcome(), []),
        Verb.PING: (any_, m.Ping(), [], m.Pong(), []),
        Verb.STATS: (front, m.StatsRequest(), [], stats, []),
        Verb.ROUTE: (any_, m.RouteRequest(topics=["orders", "nope"]), [], m.RouteReply(topics=[
            m.RouteResult(topic="orders", route=ROUTE_OF_TOPIC),
            m.RouteResult(topic="nope", code=404, message="there is no topic 'nope'")]), []),
        Verb.TOPIC_CREATE: (any_, m.TopicCreate(topic="orders", queues=2, request_key="k1"), [],
                            topic, []),
        Verb.TOPIC_UPDATE: (any_, m.TopicUpdate(topic="orders", write_queues=1), [], topic, []),
        Verb.TOPIC_DELETE: (any_, m.TopicDelete(topic="orders", topic_id=7), [], topic, []),
        Verb.TOPIC_LIST: (any_, m.TopicList(after="a"), [], m.TopicListReply(topics=[
            m.TopicSummary(topic="orders", topic_id=7, write_queues=1, read_queues=2)]), []),
        Verb.PRODUCE: (0, m.Produce(queues=[m.ProduceQueue(queue=12, version=3)]), [batch],
                       m.ProduceReply(queues=[produced]), []),
        Verb.FETCH: (0, m.Fetch(queues=[m.FetchQueue(queue=12, offset=500)], wait_ms=30_000), [],
                     m.FetchReply(queues=[fetched]), [record_of(batch)]),
        Verb.OFFSETS: (0, m.Offsets(queues=[wanted]), [], m.OffsetsReply(queues=[held]), []),
        Verb.TAKEN: (0, m.Taken(bytes=4_194_304), [], m.TakenReply(), []),
        Verb.DEFINE: (0, m.Define(topics=[ROUTE_OF_TOPIC], live_topic_ids=[7], topic_id_max=7),
                      [],
                      m.DefineReply(queues=1), []),
        **group_exchanges(),
    }  # fmt: skip


def work_exchanges() -> dict[Verb, tuple[int, m.Header, list[bytes], m.Header, list[bytes]]]:
    """The same for the verbs about work queues."""
    receipt = 0x0123456789ABCDEF
    batch = batch_of("tags, one message without")
    part = w.ReceivedPart(queue=12, generation=1, offset=500, count=3, stored_at_ms=NOW_MS + 7)
    done = w.SettleItem(queue=12, generation=1, receipt=receipt, start=500, stop=502)
    failed = w.SettleItem(
        queue=12, generation=1, receipt=receipt, start=502, stop=503, act="nack", cause="ValueError"
    )
    late = w.SettleResult(code=Code.RECEIPT_EXPIRED, expired=[(502, 503)], message="too late")
    return {
        Verb.RECEIVE: (0, w.Receive(group_id=3, receipt=receipt, wait_ms=10_000), [],
                       w.ReceiveReply(until_ms=NOW_MS + 30_007, parts=[part]), [batch]),
        Verb.SETTLE: (0, w.Settle(group_id=3, items=[done, failed]), [],
                      w.SettleReply(results=[w.SettleResult(code=Code.OK), late]), []),
    }  # fmt: skip


def group_exchanges() -> dict[Verb, tuple[int, m.Header, list[bytes], m.Header, list[bytes]]]:
    """The same for the verbs about consumer groups."""
    any_, mail, member = SHARD_ANY, SHARD_COORDINATOR, "billing-1"
    wish = g.Subscription(topic="orders", expression="paid || shipped")
    held = g.AssignedQueue(topic="orders", queue_id=0, queue=12, shard=0, generation=5)
    owner = g.QueueOwner(topic="orders", queue_id=0, queue=12, shard=0, generation=5, owner=member)
    info = g.MemberInfo(member=member, queues=1, lease_ms=10_000, silent_ms=42)
    failed = g.NackMessage(offset=502, cause="ValueError: no such customer")
    cursor = g.CursorResult(
        queue=12,
        floor=500,
        ranges=[(502, 503)],
        generation=5,
        member=member,
        latest=503,
        lag=2,
        oldest_at_ms=NOW_MS + 7,
    )
    grant = g.GrantQueue(
        queue=12,
        generation=5,
        member=member,
        expression="paid || shipped",
        start=g.Start(at="earliest"),
    )
    return {
        Verb.ACK: (0, g.Ack(group_id=3, queues=[g.AckQueue(
            queue=12, generation=5, floor=500, ranges=[(502, 503)])]), [],
            g.AckReply(queues=[g.AckResult(queue=12, floor=500)]), []),
        Verb.CURSORS: (0, g.Cursors(group_id=3, queues=[12]), [],
                       g.CursorsReply(queues=[cursor]), []),
        Verb.NACK: (0, g.Nack(group_id=3, queues=[g.NackQueue(
            queue=12, generation=5, messages=[failed])]), [],
            g.NackReply(queues=[g.NackResult(queue=12)]), []),
        **work_exchanges(),
        Verb.GROUP_JOIN: (any_, g.GroupJoin(group="billing", member=member, subscriptions=[wish],
                                            start=g.Start(at="earliest")), [],
                          g.GroupJoinReply(group_id=3, lease_ms=10_000), []),
        Verb.EVENTS: (any_, g.Events(group_id=3, member=member, version=8, wait_ms=3_000), [],
                      g.EventsReply(version=9, queues=[held]), []),
        Verb.GROUP_LEAVE: (any_, g.GroupLeave(group_id=3, member=member), [],
                           g.GroupLeaveReply(), []),
        Verb.GROUP_LIST: (any_, g.GroupList(), [], g.GroupListReply(groups=[g.GroupSummary(
            group="billing", group_id=3, model="clustering", members=1, topics=1)]), []),
        Verb.GROUP_DESCRIBE: (any_, g.GroupDescribe(group="billing"), [], g.GroupDescription(
            group="billing", group_id=3, model="clustering", strategy="sticky",
            subscriptions=[wish], members=[info], queues=[owner]), []),
        Verb.GROUP_DELETE: (any_, g.GroupDelete(group="billing"), [],
                            g.GroupDeleteReply(group_id=3), []),
        Verb.GROUP_RESET: (any_, g.GroupReset(group="billing", topic="orders"), [],
                           g.GroupResetReply(queues=[g.ResetResult(
                               queue_id=0, queue=12, before=503, after=0)]), []),
        Verb.GRANT: (0, g.Grant(group_id=3, group="billing", queues=[grant]), [],
                     g.GrantReply(queues=[g.GrantResult(queue=12, generation=5)]), []),
        Verb.RELEASE: (0, g.Release(until_ms=NOW_MS, wait_ms=30_000), [],
                       g.ReleaseReply(next_due_ms=NOW_MS + 10_000), []),
        Verb.SESSIONS_GONE: (mail, g.SessionsGone(sessions=["00c0ffee00c0ffee" * 2]), [],
                             g.SessionsGoneReply(), []),
    }  # fmt: skip


def plain_exchanges() -> dict[Verb, tuple[int, m.Header, list[bytes], m.Header, list[bytes]]]:
    """The verbs that JSON clients use in another form: messages in the header, no payload."""
    batch = batch_of("keys and properties")
    view = BatchView(batch, check_batch(batch))
    stored = plain_messages(view, 500, NOW_MS + 7)
    for message in stored:
        message.queue_id = 0
    produce = m.Produce(
        topic="orders", producer_id=f"{PRODUCER_ID:016x}", first_sequence=1,
        messages=[m.PlainMessage(body="grüße", ordering_key="N14228", tag="t")],
    )  # fmt: skip
    receipt = m.PlainReceipt(message_id=f"{PRODUCER_ID:016x}{1:016x}", queue_id=0, offset=500)
    produced = m.ProduceResult(queue=12, base_offset=500, stored_at_ms=NOW_MS + 7)
    fetched = m.FetchResult(queue=12, next_offset=502, latest=502, messages=stored)
    fetch = m.Fetch(queues=[m.FetchQueue(queue=12, offset=500)], wait_ms=30_000)
    reply = m.ProduceReply(queues=[produced], messages=[receipt])
    return {
        Verb.PRODUCE: (SHARD_ANY, produce, [], reply, []),
        Verb.FETCH: (0, fetch, [], m.FetchReply(queues=[fetched]), []),
    }
