"""Limits: every bound that a client can meet, with its unit and its reason.

WELCOME announces them; both ends enforce them. The relations between them are asserted here.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

BODY_BYTES_MAX = 4 * MIB
"""RocketMQ's limit, so that no message of a user who comes from there is refused."""
PROPERTIES_BYTES_MAX = 32 * KIB - 1
"""Names and values of one message together, as in RocketMQ (32,767)."""
TOPIC_CHARS_MAX = 127
GROUP_CHARS_MAX = 120
TAG_BYTES_MAX = 1 * KIB
KEY_BYTES_MAX = 1 * KIB
KEYS_MAX = 64
ORDERING_KEY_BYTES_MAX = 1 * KIB

BATCH_MESSAGES_MAX = 65_536
BATCH_BYTES_MAX = 8 * MIB
"""One batch, as one payload frame: the largest message with all its properties fits."""
META_BYTES_MAX = 4 * MIB
"""Columns of one batch without its bodies, uncompressed: a byte of meta can make 40 in memory."""
COLUMNS_MAX = 64
"""Columns of a batch, known and yet to come."""
SEQUENCE_MAX = (1 << 63) - 1
FRAME_BYTES_MAX = BATCH_BYTES_MAX + 64 * KIB
"""ZMQ_MAXMSGSIZE of every socket: a batch plus the record prefix and room to spare."""
HEADER_BYTES_MAX = 1 * MIB
"""Of every header but a JSON reply's, which holds messages and may fill a frame."""
REQUEST_QUEUES_MAX = 4_096
"""Queues that one PRODUCE, FETCH or OFFSETS may name."""
REQUEST_TOPICS_MAX = 1_000
"""Topics that one ROUTE may ask for, and that a page of TOPIC_LIST holds."""
REPLY_BYTES_MAX = 1 * MIB
"""Payload of a FETCH reply, unless a single batch is larger."""

SESSION_BYTES_MAX = 16 * MIB
"""In flight for one session, then BUSY."""
ROUTER_BYTES_MAX = 128 * MIB
"""In flight for one router, then BUSY."""
ANSWERS_BYTES_MAX = 32 * MIB
"""Answers with messages that are under way from one shard to one router; others wait."""
SESSIONS_MAX = 10_000
SESSION_REQUESTS_MAX = 1_024
"""Requests in flight for one session, parked polls included."""
WAIT_MS_MAX = 60_000
"""How long a FETCH may be parked."""
DEADLINE_MS_MAX = 600_000
PARKED_POLLS_MAX = 20_000
"""Parked FETCH requests of one shard."""

GROUP_SUBSCRIPTIONS_MAX = 256
"""Topics that one group may subscribe to."""
GROUPS_MAX = 10_000
GROUP_MEMBERS_MAX = 10_000
EXPRESSION_CHARS_MAX = 1_024
NACK_DETAIL_CHARS_MAX = 8 * KIB
"""Of a cause or a stack trace that a failed message carries on."""
ACK_RANGES_MAX = 4_096
"""Ranges above the floor of one cursor, then BUSY until the floor moves."""
LEASE_MS = 10_000
"""How long a member of a group may be silent, unless it asks for another time."""
LEASE_MS_MIN = 1_000
LEASE_MS_MAX = 600_000
INVISIBLE_MS = 30_000
"""How long a received message of a work queue is nobody else's, unless asked for another time."""
INVISIBLE_MS_MAX = 12 * 3_600_000
RECEIVE_MESSAGES_MAX = 1_024
"""Messages of one RECEIVE."""
HANDOUTS_MAX = 4_096
"""Stretches of one queue that are handed out to a group and not done; then it gives nothing new."""
ATTEMPTS_MAX = 1_000
DELAY_MS_MAX = 366 * 24 * 3_600_000
"""How far ahead a message may be scheduled."""

TOPIC_QUEUES_MAX = 16_384
TOPICS_MAX = 100_000
"""The users' own."""
SYSTEM_TOPICS_MAX = 2 * GROUPS_MAX
"""Retry and dead letter topics of groups."""
SLOTS = 4_096

HEARTBEAT_MS = 10_000
"""How often a quiet client sends PING."""
SESSION_IDLE_MS = 45_000
"""A session that was silent for so long is forgotten; its client says HELLO again."""

assert BODY_BYTES_MAX + PROPERTIES_BYTES_MAX + 128 * KIB < BATCH_BYTES_MAX
assert PROPERTIES_BYTES_MAX + (KEYS_MAX + 2) * KEY_BYTES_MAX + 64 * KIB < META_BYTES_MAX
assert BATCH_BYTES_MAX <= SESSION_BYTES_MAX <= ROUTER_BYTES_MAX
assert SESSION_IDLE_MS > 3 * HEARTBEAT_MS, "two lost PINGs must not end a session"
