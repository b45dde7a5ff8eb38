"""Load: the clients of one run, what they do during the storm, and what an operator does meanwhile.

Owns which clients there are (a killed one is replaced by another), the topics, and the changes that
an admin makes while producers send. Must not know how the broker works.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shardmq.client.link.asking import Flow
from shardmq.client.topics import create_topic, delete_topic, update_topic

from .clients import Client, SimProducer
from .cluster import Cluster
from .consumers import FlowRunner, SimConsumer
from .history import Fate, History
from .swarm import Plan
from .world import World

ACKS = ("synced", "synced", "synced", "written", "none")


class Load:
    """Producers, consumers and one admin."""

    def __init__(self, world: World, plan: Plan, cluster: Cluster, history: History) -> None:
        self.world = world
        self.plan = plan
        self.cluster = cluster
        self.history = history
        self.topics = [f"topic-{number}" for number in range(plan.topics)]
        self.perishable: set[str] = set()
        """Topics whose queues may go: deleted, or closed for reading."""
        self.slots_moved: set[str] = set()
        self.producers: list[SimProducer] = []
        self.consumers: list[SimConsumer] = []
        self.retired: list[SimProducer] = []
        self.admin = FlowRunner(self.client("admin"))
        self.admin_errors = 0
        self.consumers_ever = 0
        self._over = False
        self._names = 0
        self._sent = 0

    def client(self, kind: str) -> Client:
        """A new process with a connection of its own."""
        self._names = getattr(self, "_names", 0) + 1
        name = f"{kind}-{self._names}"
        cluster = self.cluster
        return Client(self.world, cluster.network, self.plan.outer, name, cluster.choose_router)

    # --- before the storm --------------------------------------------------------------------

    def create_topics(self) -> bool:
        """Creates the topics; False if the broker does not manage it in calm weather."""
        for topic in self.topics:
            queues = self.world.chance.randint(1, 5)
            flow = create_topic(topic, queues, None, f"first {topic}")
            self.admin.run(flow, self._admin_done)
        return self.world.run_while(lambda: not self.admin.idle, 20_000.0)

    def begin(self) -> None:
        for _ in range(self.plan.producers):
            self._new_producer()
        for _ in range(self.plan.consumers):
            self._new_consumer()
        self._burst_later()
        self._each(self.plan.admin_every_ms, self._change_topic)
        self._each(self.plan.seek_every_ms, self._seek)

    def _new_producer(self) -> None:
        ack = self.world.chance.choice(ACKS)
        self.producers.append(SimProducer(self.client("producer"), self.plan, self.history, ack))

    def _new_consumer(self) -> None:
        client = self.client("consumer")
        self.consumers_ever += 1
        self.consumers.append(SimConsumer(client, self.plan, self.history, self.topics))

    # --- during the storm --------------------------------------------------------------------

    def _each(self, every_ms: float, act: Callable[[], None]) -> None:
        if not every_ms:
            return

        def again() -> None:
            if not self._over:
                act()
                self.world.after(self.world.chance.expovariate(1.0 / every_ms), again)

        self.world.after(self.world.chance.expovariate(1.0 / every_ms), again)

    def _burst_later(self) -> None:
        plan, chance = self.plan, self.world.chance
        bursts = max(1.0, plan.sends / max(1.0, plan.burst / 2))
        self.world.after(chance.expovariate(bursts / plan.storm_ms), self._burst)

    def _burst(self) -> None:
        if self._over or len(self.history.sends) >= 2 * self.plan.sends:
            return
        if self.producers:
            producer = self.world.chance.choice(self.producers)
            producer.burst(self.topics, self.world.chance.randint(1, self.plan.burst))
        self._burst_later()

    def _seek(self) -> None:
        if self.consumers:
            self.world.chance.choice(self.consumers).seek_somewhere()

    def kill_one(self, kind: str) -> None:
        """A client process is killed; another one takes its place a little later."""
        chance = self.world.chance
        living: list[Any] = self.producers if kind == "producer" else self.consumers
        if not living:
            return
        one = chance.choice(living)
        self.world.note(one.client.name, "killed")
        one.kill()
        living.remove(one)
        if kind == "producer":
            self.retired.append(one)
        again = self._new_producer if kind == "producer" else self._new_consumer
        self.world.after(chance.uniform(1.0, 200.0), again)

    def pause_one(self, pause_ms: float) -> None:
        clients = self._clients()
        if clients:
            self.world.chance.choice(clients).pause(pause_ms)

    def _clients(self) -> list[Client]:
        return [*(one.client for one in self.producers), *(one.client for one in self.consumers)]

    # --- the operator ------------------------------------------------------------------------

    def _change_topic(self) -> None:
        """One change; the next one begins only when this one has been answered."""
        if not self.admin.idle:
            return
        chance, plan = self.world.chance, self.plan
        topic = chance.choice(self.topics)
        kind = chance.random()
        if kind < 0.4:
            flow: Any = update_topic(topic, self._queues_of(topic) + 1, None, None, None)
        elif kind < 0.55 and plan.shrink:
            flow = update_topic(topic, None, None, chance.randint(1, 4), None)
            self._may_go(topic)
        elif kind < 0.75 and plan.shrink:
            flow = update_topic(topic, None, chance.randint(1, 3), None, None)
            self.slots_moved.add(topic)
        elif kind < 0.9 and plan.recreate:
            queues = chance.randint(1, 4)
            flow = delete_topic(topic) if kind < 0.8 else _created_again(topic, queues)
            self._may_go(topic)
        else:
            flow = create_topic(topic, chance.randint(1, 5), None, f"{self.world.mono_ms}")
            if chance.random() < 0.3:
                self.topics.append(f"topic-{len(self.topics)}")
        self.world.note("admin", "change", flow.__name__)
        self.admin.run(flow, self._admin_done)

    def _queues_of(self, topic: str) -> int:
        catalogue = self.cluster.catalogue
        known = catalogue.named(topic) if catalogue is not None else None
        return len(known.places) if known is not None else 1

    def _may_go(self, topic: str) -> None:
        self.perishable.add(topic)
        self.slots_moved.add(topic)

    def _admin_done(self, result: Any, error: Exception | None) -> None:
        self.admin_errors += error is not None
        self.world.note("admin", "done", str(error or ""))

    # --- after the storm ---------------------------------------------------------------------

    def end(self) -> None:
        """Nothing new is given; clients that were paused go on."""
        self._over = True
        for client in self._clients():
            client.paused_until_ms = 0.0
            client.turn_soon()

    @property
    def settled(self) -> bool:
        """Every send is answered, every change too."""
        return self.admin.idle and all(one.idle for one in self.producers)

    def restore_topics(self) -> bool:
        """Topics that the operator deleted are there again, so that the rest can be judged."""
        catalogue = self.cluster.catalogue
        assert catalogue is not None
        for topic in self.topics:
            if catalogue.named(topic) is None:
                flow = create_topic(topic, 2, None, f"last {topic}")
                self.admin.run(flow, self._admin_done)
        return self.world.run_while(lambda: not self.admin.idle, 20_000.0)

    def last_sends(self) -> bool:
        """A few sends in calm weather: all must be acknowledged."""
        for producer in self.producers:
            for _ in range(2):
                producer.burst(self.topics, 2)
        return self.world.run_while(lambda: not self.settled, 30_000.0)

    def counts(self) -> dict[str, int]:
        return {fate.name.lower(): self.history.count(fate) for fate in Fate}


def _created_again(topic: str, queues: int) -> Flow[None]:
    """A topic is deleted and created in one breath."""
    yield from delete_topic(topic)
    yield from create_topic(topic, queues, None, f"again {topic}")
