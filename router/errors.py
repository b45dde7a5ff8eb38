"""Why a broker does not start, as exceptions.

BrokerError                  all of them; `hint` says what to do
  DataDirError               the data directory
    DataDirInUse             another broker has it; the text says which
    DataDirVersion           written by another version
    DataDirShards            made with another number of shards
    DataDirUnusable          not ours, not writable, no directory
  ListenError                the address
    AddressInUse             the port is taken
    AddressInvalid           no tcp://host:port, or no address of this machine
    NotLoopback              the network could reach it
  OptionInvalid              a number that makes no sense
  StartFailed                a process did not come up
  StopTimedOut               processes still run behind a stop
"""

from __future__ import annotations

__all__ = [
    "AddressInUse",
    "AddressInvalid",
    "BrokerError",
    "DataDirError",
    "DataDirInUse",
    "DataDirShards",
    "DataDirUnusable",
    "DataDirVersion",
    "ListenError",
    "NotLoopback",
    "OptionInvalid",
    "StartFailed",
    "StopTimedOut",
]


class BrokerError(Exception):
    """A broker cannot start or stop."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


class DataDirError(BrokerError):
    """The data directory cannot be used."""


class DataDirInUse(DataDirError):
    """Another broker has the data directory open."""


class DataDirVersion(DataDirError):
    """Another version of ShardMQ wrote the data directory."""


class DataDirShards(DataDirError):
    """The data directory was made with another number of shards."""


class DataDirUnusable(DataDirError):
    """The path is no data directory of ours, or cannot be written."""


class ListenError(BrokerError):
    """The address cannot be listened on."""


class AddressInUse(ListenError):
    """Something listens on the port already."""


class AddressInvalid(ListenError):
    """The address is malformed, or this machine does not have it."""


class NotLoopback(ListenError):
    """Other machines could reach the address, and nothing would keep them out."""


class OptionInvalid(BrokerError):
    """An option has a value that makes no sense."""


class StartFailed(BrokerError):
    """A process of the broker did not come up."""


class StopTimedOut(BrokerError):
    """Processes of the broker still run behind a stop."""
