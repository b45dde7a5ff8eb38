"""The verbs: one row each, read by router dispatch, permission check, client retry and the docs.

A request's destination says which actor answers. `Destination.NAMED` reads the route frame's
shard field: a shard number, or one of the special numbers in `frames.py`.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any, NamedTuple

from . import group_messages as g
from . import messages as m
from . import work_messages as w

__all__ = ["VERB_ROWS", "Destination", "Verb", "VerbRow", "row_of"]


class Verb(IntEnum):
    """What a request asks for."""

    HELLO = 1
    PING = 2
    STATS = 3
    ROUTE = 10
    TOPIC_CREATE = 11
    TOPIC_UPDATE = 12
    TOPIC_DELETE = 13
    TOPIC_LIST = 14
    PRODUCE = 20
    FETCH = 21
    OFFSETS = 22
    ACK = 23
    CURSORS = 24
    NACK = 25
    RECEIVE = 26
    SETTLE = 27
    GROUP_JOIN = 30
    EVENTS = 31
    GROUP_LEAVE = 32
    GROUP_LIST = 33
    GROUP_DESCRIBE = 34
    GROUP_DELETE = 35
    GROUP_RESET = 36
    DEFINE = 40
    GRANT = 41
    RELEASE = 42
    SESSIONS_GONE = 43
    TAKEN = 44


class Destination(Enum):
    """Which actor answers a verb."""

    ROUTER = "router"
    COORDINATOR = "coordinator"
    SHARD = "shard"
    NAMED = "named"
    INTERNAL = "internal"
    """Between our own processes only: a router refuses it from outside."""


class VerbRow(NamedTuple):
    """Everything the broker and its clients need to know of a verb."""

    verb: Verb
    request: type[Any]
    reply: type[Any]
    destination: Destination
    permission: str
    """What an account needs; "none" must be said, too."""
    idempotent: bool
    """A client may resend it after a lost reply."""
    about: str


VERB_ROWS: tuple[VerbRow, ...] = (
    VerbRow(Verb.HELLO, m.Hello, m.Welcome, Destination.ROUTER, "none", True,
            "opens a session"),
    VerbRow(Verb.PING, m.Ping, m.Pong, Destination.ROUTER, "none", True,
            "keeps a session; between processes the heartbeat"),
    VerbRow(Verb.STATS, m.StatsRequest, m.StatsReply, Destination.NAMED, "cluster:read", True,
            "figures of one actor"),
    VerbRow(Verb.ROUTE, m.RouteRequest, m.RouteReply, Destination.COORDINATOR, "topic:describe",
            True, "where a topic's queues are and which slot belongs to which queue"),
    VerbRow(Verb.TOPIC_CREATE, m.TopicCreate, m.TopicReply, Destination.COORDINATOR,
            "topic:create", True, "creates a topic (with the same `request_key` only once)"),
    VerbRow(Verb.TOPIC_UPDATE, m.TopicUpdate, m.TopicReply, Destination.COORDINATOR,
            "topic:update", True, "adds queues, opens and closes queues, changes retention"),
    VerbRow(Verb.TOPIC_DELETE, m.TopicDelete, m.TopicReply, Destination.COORDINATOR,
            "topic:delete", True, "deletes a topic and its messages"),
    VerbRow(Verb.TOPIC_LIST, m.TopicList, m.TopicListReply, Destination.COORDINATOR,
            "topic:describe", True, "lists topics"),
    VerbRow(Verb.PRODUCE, m.Produce, m.ProduceReply, Destination.SHARD, "topic:write", True,
            "stores batches, one payload frame for each queue named"),
    VerbRow(Verb.FETCH, m.Fetch, m.FetchReply, Destination.SHARD, "topic:read", True,
            "reads many queues of a shard, waiting until something is there"),
    VerbRow(Verb.OFFSETS, m.Offsets, m.OffsetsReply, Destination.SHARD, "topic:read", True,
            "earliest, latest and by-time offsets of queues"),
    VerbRow(Verb.ACK, g.Ack, g.AckReply, Destination.SHARD, "group:consume", True,
            "a member moves its group's cursors"),
    VerbRow(Verb.CURSORS, g.Cursors, g.CursorsReply, Destination.SHARD, "group:describe", True,
            "where a group is in queues of a shard, and how far behind"),
    VerbRow(Verb.NACK, g.Nack, g.NackReply, Destination.SHARD, "group:consume", True,
            "messages that failed come again later, or become dead letters"),
    VerbRow(Verb.RECEIVE, w.Receive, w.ReceiveReply, Destination.SHARD, "group:consume", True,
            "messages of a work queue are handed out, waiting until something is there"),
    VerbRow(Verb.SETTLE, w.Settle, w.SettleReply, Destination.SHARD, "group:consume", True,
            "what became of messages that were handed out"),
    VerbRow(Verb.GROUP_JOIN, g.GroupJoin, g.GroupJoinReply, Destination.COORDINATOR,
            "group:consume", True, "a member comes to a group, which comes to be with its first"),
    VerbRow(Verb.EVENTS, g.Events, g.EventsReply, Destination.COORDINATOR, "group:consume", True,
            "waits for news of the queues that a member holds; its heartbeat"),
    VerbRow(Verb.GROUP_LEAVE, g.GroupLeave, g.GroupLeaveReply, Destination.COORDINATOR,
            "group:consume", True, "a member goes"),
    VerbRow(Verb.GROUP_LIST, g.GroupList, g.GroupListReply, Destination.COORDINATOR,
            "group:describe", True, "lists groups"),
    VerbRow(Verb.GROUP_DESCRIBE, g.GroupDescribe, g.GroupDescription, Destination.COORDINATOR,
            "group:describe", True, "members of a group, and who holds which queue"),
    VerbRow(Verb.GROUP_DELETE, g.GroupDelete, g.GroupDeleteReply, Destination.COORDINATOR,
            "group:delete", True, "forgets a group without members"),
    VerbRow(Verb.GROUP_RESET, g.GroupReset, g.GroupResetReply, Destination.COORDINATOR,
            "group:update", True, "moves the cursors of a group"),
    VerbRow(Verb.DEFINE, m.Define, m.DefineReply, Destination.INTERNAL, "internal", True,
            "the coordinator tells a shard the topics as they are now"),
    VerbRow(Verb.GRANT, g.Grant, g.GrantReply, Destination.INTERNAL, "internal", True,
            "the coordinator tells a shard who reads what for a group"),
    VerbRow(Verb.RELEASE, g.Release, g.ReleaseReply, Destination.INTERNAL, "internal", True,
            "the coordinator tells a shard up to when scheduled messages are due"),
    VerbRow(Verb.SESSIONS_GONE, g.SessionsGone, g.SessionsGoneReply, Destination.INTERNAL,
            "internal", True, "a router tells the coordinator which connections ended"),
    VerbRow(Verb.TAKEN, m.Taken, m.TakenReply, Destination.INTERNAL, "internal", False,
            "a router tells a shard how much of its answers it has taken"),
)  # fmt: skip

_ROWS = {int(row.verb): row for row in VERB_ROWS}


def row_of(verb: int) -> VerbRow | None:
    """The row of a verb's number, None if no such verb exists."""
    return _ROWS.get(verb)
