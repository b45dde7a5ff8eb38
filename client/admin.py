"""Admin: topics, groups and figures, from a thread. A shell over the flows of `topics.py` and
`groups.py`."""

from __future__ import annotations

from collections.abc import Sequence
from time import sleep
from typing import Any, TypeVar

from shardmq.actors.kernel.randomness import SystemRandomness
from shardmq.actors.protocol.retries import dlq_topic

from .closing import Closable
from .consumer import PullConsumer
from .credentials import check_credentials
from .errors import InvalidArgument, SendError, TopicNotFound
from .groups import (
    GroupDescription,
    ResetQueue,
    ResetTo,
    checked_group_name,
    delete_group,
    describe_group,
    list_groups,
    reset_offsets,
)
from .letters import (
    DeadLetter,
    Resend,
    checked_count,
    checked_rate,
    in_order,
    letter_of,
    unread,
)
from .link.asking import Flow
from .link.flows import run_flow
from .link.sharing import acquire, release
from .producer import Producer
from .times import Duration, ms_of
from .topics import (
    TopicDescription,
    create_topic,
    delete_topic,
    describe_topic,
    list_topics,
    stats_of,
    update_topic,
)

__all__ = ["Admin"]

T = TypeVar("T")
POLL_SECONDS = 10.0
LETTERS_MAX = 1_000_000


class Admin(Closable):
    """Administers a broker.

    Every method raises `errors.RemoteError` (of the class of its code) when the broker refuses or
    does not answer within `timeout` seconds, and `InvalidArgument` for what no broker would take.
    """

    _noun = "admin"

    def __init__(
        self, url: str | None = None, *, timeout: Duration = 10.0, credentials: Any = None
    ) -> None:
        check_credentials(credentials)
        self._url = url
        self._timeout_ms = ms_of(timeout, "timeout")
        if not self._timeout_ms:
            raise InvalidArgument("timeout is more than 0 seconds")
        self._connection = acquire(url)
        self._closed = False

    def create_topic(
        self, name: str, queues: int = 8, *, retention: Duration | None = None
    ) -> TopicDescription:
        """Creates a topic. `retention`: how long its messages stay; None for the broker's default.

        Raises:
            TopicExists: there is one of that name.
        """
        request_key = f"{SystemRandomness().u64():016x}"
        return self._run(create_topic(name, queues, retention, request_key))

    def update_topic(
        self,
        name: str,
        *,
        queues: int | None = None,
        write_queues: int | None = None,
        read_queues: int | None = None,
        retention: Duration | None = None,
    ) -> TopicDescription:
        """Changes a topic. `queues` sets both numbers; with fewer write than read queues the rest
        can be drained before it is closed.

        Raises:
            TopicNotFound: there is none of that name.
        """
        return self._run(update_topic(name, queues, write_queues, read_queues, retention))

    def delete_topic(self, name: str) -> None:
        """Deletes a topic and its messages.

        Raises:
            TopicNotFound: there is none of that name.
        """
        self._run(delete_topic(name))

    def topics(self, *, system: bool = False) -> list[str]:
        """Names of all topics, sorted; with `system` also those of the broker itself."""
        return self._run(list_topics(system))

    def describe_topic(self, name: str) -> TopicDescription:
        """A topic, its queues and their offsets.

        Raises:
            TopicNotFound: there is none of that name.
        """
        return self._run(describe_topic(name))

    def groups(self) -> list[str]:
        """Names of all consumer groups, sorted."""
        return self._run(list_groups())

    def describe_group(self, name: str) -> GroupDescription:
        """A group, its members, and where it is in its queues.

        Raises:
            GroupNotFound: there is none of that name.
        """
        return self._run(describe_group(name))

    def reset_offsets(
        self, group: str, topic: str, *, to: ResetTo, dry_run: bool = False
    ) -> list[ResetQueue]:
        """Moves a group in a topic to "earliest", "latest", a time, or to offsets: a mapping from
        queue_id. Its members follow at once. With `dry_run` only says what would be.

        Raises:
            GroupNotFound, TopicNotFound: there is none of that name.
        """
        return self._run(reset_offsets(group, topic, to, dry_run))

    def delete_group(self, name: str) -> None:
        """Forgets a group, and where it is.

        Raises:
            GroupNotFound: there is none of that name.
            GroupInUse: it has members.
        """
        self._run(delete_group(name))

    def dead_letters(self, group: str, *, count: int = 1_000) -> list[DeadLetter]:
        """Messages that a group gave up, oldest first, at most `count` of them."""
        checked_count(count)
        topic = dlq_topic(checked_group_name(group))
        letters: list[DeadLetter] = []
        try:
            described = self.describe_topic(topic)
        except TopicNotFound:
            return letters
        with PullConsumer(self._url, on_out_of_range="earliest") as consumer:
            consumer.assign(topic)
            while len(letters) < count:
                positions = {
                    queue_id: consumer.position(topic, queue_id)
                    for _, queue_id in consumer.assignment()
                }
                if not unread(described, positions):
                    break
                letters += map(letter_of, consumer.poll(timeout=POLL_SECONDS))
        return in_order(letters)[:count]

    def resend_dead_letters(
        self, group: str, letters: Sequence[DeadLetter] | None = None, *, rate: float = 1_000.0
    ) -> int:
        """Sends dead letters to their topics again, as new messages, and says how many. They stay
        where they are. Those whose topic does not exist any more do not keep the others back.

        Args:
            letters: some of `dead_letters(group)`; None: all of them.
            rate: messages a second.

        Raises:
            SendError: some were not sent. It says how many were; `left` has those to try again,
                `letters` and `outcomes` what became of each.
        """
        checked = checked_rate(rate)
        if letters is None:
            letters = self.dead_letters(group, count=LETTERS_MAX)
        resend = Resend(letters, checked)
        with Producer(self._url) as producer:
            while messages := resend.batch():
                sleep(resend.wait_seconds)
                try:
                    resend.stored(producer.send_batch(messages))
                except SendError as error:
                    resend.failed(error)
        return resend.result()

    def stats(self, actor: str) -> dict[str, Any]:
        """Figures of `router`, `coordinator` or `shard-N`."""
        return self._run(stats_of(actor))

    def close(self) -> None:
        """Gives the connection back. May be called again."""
        if not self._closed:
            self._closed = True
            release(self._connection)

    def _run(self, flow: Flow[T]) -> T:
        self._check_open()
        return run_flow(self._connection, flow, self._timeout_ms)
