"""The broker: its processes put together, for `shardmq serve` and for any Python program.

    with Broker("data", shards=2, listen="tcp://127.0.0.1:0") as broker:
        producer = Producer(broker.url)

Owns which processes there are, with which addresses and in which order they stop, and the options
that an operator has. Must not know what the processes do; keeping them alive is the supervisor's.

It can be used from any thread, from a notebook, and without an `if __name__` guard: processes are
fresh interpreters that import nothing of the program. They end with the program, however it ends.
"""

from __future__ import annotations

import atexit
import os
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from shardmq.actors.kernel.clock import SystemClock
from shardmq.actors.kernel.listening import Listeners
from shardmq.actors.kernel.logs import LogForm, LogLevel
from shardmq.actors.kernel.spawn import ChildSpec
from shardmq.actors.kernel.supervising import StartFailed as ChildFailed
from shardmq.actors.kernel.supervising import Supervisor
from shardmq.actors.kernel.supervisor import ChildStatus
from shardmq.shards.process import ShardConfig

from .coordinator_process import CoordinatorConfig
from .data_dir import DataDir, cores, open_data_dir
from .errors import BrokerError, OptionInvalid, StartFailed, StopTimedOut
from .listen import DEFAULT_LISTEN, check_address, open_listeners
from .process import RouterConfig
from .readiness import wait_for_links
from .router import COORDINATOR, shard_link

__all__ = ["DEFAULT_RETENTION_MS", "Broker", "BrokerError", "BrokerOptions"]

DEFAULT_RETENTION_MS = 72 * 3_600_000
ROUTERS_MAX = 64
START_TIMEOUT_S = 60.0
"""Recovery after a crash reads two segments at most; a slow disk may need seconds for that."""
STOP_TIMEOUT_S = 60.0


class BrokerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator decides."""

    shards: int | None = None
    """Shard processes. A data directory keeps the number it was made with; None takes that one,
    and for a new directory the number of cores."""
    listen: str = DEFAULT_LISTEN
    """`tcp://host:port`, on loopback; port 0 takes a free one."""
    routers: int | None = None
    """Router processes that share the port; None: one up to four cores, then one for every four."""
    auto_create: bool = False
    """Whether a topic is created when a producer first sends to it."""
    retention_ms: int = DEFAULT_RETENTION_MS
    """Messages are kept for so long; 0: for ever."""
    retention_bytes: int = 0
    """Oldest messages go while a shard's log is larger; 0: no bound."""
    segment_bytes: int | None = None
    """Size of a shard's log files; None: the journal's default."""
    journal: dict[str, Any] = {}
    """More options of the shards' journals, by name (`shards.log.options`)."""
    log_level: LogLevel = "warning"
    """Least severe line that the processes write to standard error."""
    log_form: LogForm = "auto"
    """`text`, `json`, or `auto`: text on a terminal."""


class Broker:
    """A broker and its processes. Entering the context starts it, unless `start` did."""

    def __init__(self, data_dir: str | os.PathLike[str], **options: Any) -> None:
        """Stores what is wanted; `start` acts.

        Args:
            data_dir: directory of all durable state, made if missing.
            options: the fields of `BrokerOptions`.

        Raises:
            OptionInvalid: an option does not exist or makes no sense.
            ListenError: `listen` is malformed or not a loopback address.
        """
        try:
            self.options = msgspec.convert(options, BrokerOptions, strict=True)
            unknown = sorted(set(options).difference(BrokerOptions.__struct_fields__))
        except msgspec.ValidationError as error:
            raise OptionInvalid(f"Broker: {error}") from None
        if unknown:
            known = ", ".join(BrokerOptions.__struct_fields__)
            raise OptionInvalid(f"Broker has no option {unknown[0]!r}", f"there are {known}")
        check_address(self.options.listen)
        _check(self.options)
        self.data_dir = Path(data_dir).expanduser().absolute()
        self.version = version("shardmq")
        self._clock = SystemClock()
        self._owner_pid = os.getpid()
        self._data: DataDir | None = None
        self._listeners: Listeners | None = None
        self._supervisor: Supervisor | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._lock = threading.Lock()

    # --- life --------------------------------------------------------------------------------

    def start(self, timeout: float = START_TIMEOUT_S) -> Broker:
        """Starts all processes and waits until they serve; returns self. Once started it does
        nothing.

        Raises:
            BrokerError: see `errors.py`; nothing is left running.
        """
        with self._lock:
            if self._supervisor is not None:
                return self
            try:
                self._launch()
                self._await_ready(timeout)
            except ChildFailed as failed:
                self._end(STOP_TIMEOUT_S)
                raise StartFailed(f"the broker does not start: {failed}") from None
            except BaseException:
                self._end(STOP_TIMEOUT_S)
                raise
            atexit.register(self.stop)
        return self

    def stop(self, timeout: float = STOP_TIMEOUT_S) -> None:
        """Stops in order: everybody who waits is answered, everything is synced. May be called
        again. In a fork of the program that started it, it does nothing.

        Raises:
            StopTimedOut: something still runs.
        """
        if os.getpid() != self._owner_pid:
            return
        with self._lock:
            self._end(timeout)
            atexit.unregister(self.stop)

    close = stop

    def request_stop(self) -> None:
        """Asks for the stop without waiting for it: for signal handlers; `wait` returns then."""
        supervisor = self._supervisor
        if supervisor is not None and os.getpid() == self._owner_pid:
            supervisor.request_stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Sleeps until the processes have stopped or were given up; False if they still run.

        Raises:
            BrokerError: they were given up.
        """
        thread = self._thread
        if thread is None:
            return True
        thread.join(timeout)
        if thread.is_alive():
            return False
        if self._failure is not None:
            raise StartFailed(f"the broker ended: {self._failure}") from self._failure
        return True

    def __enter__(self) -> Broker:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    # --- views -------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return self._running_listeners().address

    @property
    def shards(self) -> int:
        """Number of shards."""
        assert self._data is not None, "the broker was not started"
        return self._data.shards

    @property
    def routers(self) -> int:
        """Number of routers."""
        return self.options.routers or max(1, cores() // 4)

    def children(self) -> list[ChildStatus]:
        """State, process id and restarts of each process, by name: "router-0", "shard-0",
        "coordinator" and so on."""
        return self._supervisor.children() if self._supervisor is not None else []

    def pids(self) -> dict[str, int]:
        """Name -> process id of all processes that run now."""
        return {one.name: one.pid for one in self.children() if one.pid is not None}

    def _running_listeners(self) -> Listeners:
        if self._listeners is None:
            raise BrokerError("the broker is not running", "call start(), or enter it")
        return self._listeners

    # --- parts -------------------------------------------------------------------------------

    def _launch(self) -> None:
        options = self.options
        now = self._clock.now()
        data = open_data_dir(self.data_dir, shards=options.shards, version=self.version, now=now)
        self._data = data
        self._listeners = open_listeners(options.listen, self.routers)
        data.settle()
        self._supervisor = Supervisor(
            self._specs(data, self._listeners),
            self._clock,
            log_level=options.log_level,
            log_form=options.log_form,
        )
        self._failure = None
        # The children die with the thread that starts them: one that lives as long as they do.
        self._thread = threading.Thread(
            target=self._supervise, args=(self._supervisor,), name="shardmq-broker", daemon=True
        )
        self._thread.start()

    def _supervise(self, supervisor: Supervisor) -> None:
        try:
            supervisor.run()
        except BaseException as error:
            self._failure = error

    def _await_ready(self, timeout_s: float) -> None:
        assert self._supervisor is not None
        assert self._data is not None
        self._supervisor.wait_ready(timeout_s)
        data = self._data
        shard_links = data.shards
        wanted = {data.mailbox(name): shard_links + 1 for name in self._router_names()}
        wanted[data.mailbox(COORDINATOR)] = shard_links
        if not wait_for_links(wanted, timeout_s):
            raise StartFailed("the broker's processes do not reach each other")

    def _end(self, timeout_s: float) -> None:
        """Gives everything back, whatever was taken."""
        if self._supervisor is not None and self._thread is not None:
            self._supervisor.request_stop()
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                raise StopTimedOut(f"processes still run after {timeout_s:g} s: {self.pids()}")
        self._supervisor = None
        if self._listeners is not None:
            self._listeners.close()
            self._listeners = None
        if self._data is not None:
            self._data.close()

    def _router_names(self) -> list[str]:
        return [f"router-{index}" for index in range(self.routers)]

    def _specs(self, data: DataDir, listeners: Listeners) -> list[ChildSpec]:
        """All processes. Stages stop from the highest: first the door, last what it needs."""
        options = self.options
        shard_links = {
            shard_link(shard): data.mailbox(shard_link(shard)) for shard in range(data.shards)
        }
        links = {**shard_links, COORDINATOR: data.mailbox(COORDINATOR)}
        coordinator = CoordinatorConfig(
            mailbox=links[COORDINATOR],
            directory=str(data.coordinator),
            links=shard_links,
            shards=data.shards,
            auto_create=options.auto_create,
            retention_ms=options.retention_ms,
        )
        specs = [
            ChildSpec(
                name=shard_link(shard),
                module="shardmq.shards.process",
                mailbox=shard_links[shard_link(shard)],
                config=ShardConfig(
                    shard=shard,
                    mailbox=shard_links[shard_link(shard)],
                    directory=str(data.shard(shard)),
                    journal=_journal_options(options),
                ),
                stage=0,
            )
            for shard in range(data.shards)
        ]
        specs.append(
            ChildSpec(
                name=COORDINATOR,
                module="shardmq.router.coordinator_process",
                mailbox=coordinator.mailbox,
                config=coordinator,
                stage=1,
            )
        )
        for name, front in zip(self._router_names(), listeners.sockets, strict=True):
            router = RouterConfig(
                mailbox=data.mailbox(name),
                address=listeners.address,
                listen_fd=front.fileno(),
                shards=data.shards,
                links=links,
                version=self.version,
            )
            specs.append(
                ChildSpec(
                    name=name,
                    module="shardmq.router.process",
                    mailbox=router.mailbox,
                    config=router,
                    stage=2,
                    pass_fds=(router.listen_fd,),
                )
            )
        return specs


def _journal_options(options: BrokerOptions) -> dict[str, Any]:
    """Options of the shards' journals that differ from the default."""
    named: dict[str, Any] = {
        "retention_ms": options.retention_ms or None,
        "retention_bytes": options.retention_bytes or None,
    }
    if options.segment_bytes is not None:
        named["segment_bytes"] = options.segment_bytes
    return {**named, **options.journal}


def _check(options: BrokerOptions) -> None:
    if options.routers is not None and not 1 <= options.routers <= ROUTERS_MAX:
        raise OptionInvalid(f"a broker has 1 to {ROUTERS_MAX} routers, not {options.routers}")
    for name in ("retention_ms", "retention_bytes"):
        if getattr(options, name) < 0:
            raise OptionInvalid(f"{name} is 0 (no bound) or more, not {getattr(options, name)}")
