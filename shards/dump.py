"""`python -m shardmq.shards.dump DIR`: a log for people, as JSON lines, verified.

Owns the words and the lines; what is sound and what a damage means comes from `log`. Reads only,
without the lock, so it may look at a log in use: what stands behind the last durable lsn may then
still be on its way and look torn. The one thing that it writes, on the explicit `--accept-damage`,
is the file that lets a read-only log open writable again, without what was lost.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from shardmq.actors.protocol.batch import (
    FLAG_COPIES,
    BatchError,
    BatchView,
    read_batch_header,
)

from .dump_state import named_state
from .log import names, setaside
from .log.decide import Action
from .log.io import LogIO
from .log.logscan import Finding, LogScan, scan_log, segment_bases
from .log.reader import iterate
from .log.realio import RealLogIO
from .log.record import (
    BATCH,
    KIND_NAMES,
    PREFIX,
    PREFIX_BYTES,
    SEGMENT,
    SNAPSHOT,
    STATE,
    LogRecord,
)
from .log.report import lost_stretch
from .log.scan import Damage, Found, scan
from .log.snapshot import read_slice
from .state.queues import CARRIED_QUEUE

__all__ = ["main"]


@click.command(help="Print the log in DIRECTORY, one line a record.")
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of text.")
@click.option("--queue", type=int, help="Only batches of this queue number.")
@click.option("--from-lsn", type=int, default=0, help="Only records from this log position on.")
@click.option("--limit", type=int, help="At most so many records.")
@click.option("--verify", is_flag=True, help="Check every checksum and print damages only.")
@click.option(
    "--accept-damage",
    is_flag=True,
    help="Accept the loss of what keeps this log read-only; it opens writable at the next start.",
)
def main(
    directory: str, as_json: bool, queue: int | None, from_lsn: int, limit: int | None,
    verify: bool, accept_damage: bool,
) -> None:  # fmt: skip
    io, directory = RealLogIO(), directory.rstrip("/") or "/"
    if not segment_bases(io, directory):
        raise click.ClickException(f"{directory} holds no segments of a log")
    if verify or accept_damage:
        sys.exit(_verify(io, directory, as_json=as_json, accept=accept_damage))
    shown, is_shard = 0, _is_of_a_shard(io, directory)
    for record in _records(io, directory, from_lsn):
        if queue is not None and not (isinstance(record, LogRecord) and _is_of(record, queue)):
            continue
        click.echo(_json_line(record, is_shard) if as_json else _text_line(record, is_shard))
        shown += 1
        if shown == limit:
            return


def _is_of(record: LogRecord, queue: int) -> bool:
    return record.kind == BATCH and record.queue == queue


def _records(io: LogIO, directory: str, from_lsn: int) -> Iterator[LogRecord | Damage]:
    """Sound records and damages, in the order in which they lie there."""
    bases = segment_bases(io, directory)
    for index, base in enumerate(bases):
        sealed = index + 1 < len(bases)
        if sealed and bases[index + 1] <= from_lsn:
            continue
        file = io.open(names.path_of(directory, names.log_name(base)))
        try:
            size = bases[index + 1] - base if sealed else io.size(file)
            found = scan(io, file, base, size, sealed=sealed, header_bytes=0)
            at = base
            for damage in [*found.damages, None]:
                stop = found.end if damage is None else damage.start
                for record in iterate(io, file, base, at, stop):
                    if record.lsn >= from_lsn:
                        yield record
                if damage is not None:
                    is_free_space = damage.found is Found.ZEROS and damage.end == found.limit
                    if damage.end > damage.start and not is_free_space:
                        yield damage
                    at = max(at, damage.end)
        finally:
            io.close(file)


def _header_bytes(io: LogIO, directory: str) -> int:
    """Length of the record that opens each segment of this log, 0 if none can be read."""
    for base in segment_bases(io, directory):
        file = io.open(names.path_of(directory, names.log_name(base)))
        try:
            data = io.pread(file, PREFIX_BYTES, 0)
        finally:
            io.close(file)
        if len(data) == PREFIX_BYTES:
            fields = PREFIX.unpack(data)
            if fields[4] == base and fields[11] == SEGMENT:
                return int(fields[1])
    return 0


def _is_of_a_shard(io: LogIO, directory: str) -> bool:
    """True if a shard wrote this log: then its state records are known here."""
    length = _header_bytes(io, directory)
    for base in segment_bases(io, directory):
        file = io.open(names.path_of(directory, names.log_name(base)))
        try:
            for record in iterate(io, file, base, base, base + length):
                if record.kind == SEGMENT:
                    owner = msgspec.msgpack.decode(record.payload)[1]
                    return str(owner).startswith("shard")
        except (msgspec.MsgspecError, IndexError, TypeError):
            continue
        finally:
            io.close(file)
    return False


def _verify(io: LogIO, directory: str, *, as_json: bool, accept: bool) -> int:
    """Print what is damaged; 0 if nothing is that was durable, 1 otherwise."""
    found = scan_log(
        io, directory, _header_bytes(io, directory), setaside.accepted(io, directory),
        durable=setaside.durable_before(io, directory), everything=True,
    )  # fmt: skip
    if as_json:
        for finding in found.findings:
            click.echo(msgspec.json.encode(lost_stretch(*finding)))
        click.echo(msgspec.json.encode(_summary(found)))
    else:
        for finding in found.findings:
            click.echo(str(lost_stretch(*finding)))
        for name, value in _summary(found).items():
            click.echo(f"{name:>10}  {value}")
        if found.set_aside is not None:
            click.echo(f"behind the end: {found.set_aside.label} (a start will set it aside)")
    if accept:
        _accept(io, directory, found.findings)
        return 0
    return 1 if found.findings else 0


def _summary(found: LogScan) -> dict[str, Any]:
    return {
        "segments": len(found.scans),
        "records": sum(one.records for one in found.scans),
        "begin": found.bases[0],
        "end": found.end,
        "durable": found.durable,
        "snapshot": found.replay_from if found.series is not None else None,
        "epoch": found.epoch,
        "damages": len(found.findings),
        "read_only": found.read_only,
    }


def _accept(io: LogIO, directory: str, findings: list[Finding]) -> None:
    taken = [
        (one.damage.start, one.damage.end) for one in findings if one.row.action is Action.READ_ONLY
    ]
    if taken:
        setaside.accept(io, directory, taken)
    click.echo(
        f"accepted {len(taken)} damages; the log opens without them at the next start", err=True
    )


def _json_line(record: LogRecord | Damage, is_shard: bool) -> str:
    if isinstance(record, Damage):
        fields = {"lsn": record.start, "kind": "damage", **record._asdict()}
        return msgspec.json.encode({**fields, "found": record.found.value}).decode()
    fields = {
        "lsn": record.lsn,
        "kind": KIND_NAMES[record.kind],
        "length": record.length,
        "epoch": record.epoch,
        "stored_at_ms": record.stored_at_ms,
        "queue": record.queue,
        "base_offset": record.base_offset,
        "count": record.count,
    }
    return msgspec.json.encode({**fields, **_payload(record, is_shard)}).decode()


def _payload(record: LogRecord, is_shard: bool) -> dict[str, Any]:
    """What can be said of a payload; of state records only if they are a shard's."""
    if record.kind == BATCH:
        try:
            head = read_batch_header(record.payload)
            if record.queue == CARRIED_QUEUE:
                return {"carries": head.count}
            if head.flags & FLAG_COPIES:
                return {"copies_end": BatchView(record.payload, head).entries()}
        except BatchError as error:
            return {"batch": str(error)}
        return {"producer_id": head.producer_id, "first_sequence": head.first_sequence}
    if record.kind == SNAPSHOT:
        body = read_slice(record.payload)
        return {
            "projection": body.projection,
            "buckets": [body.first, body.stop],
            "states": len(body.states),
        }
    if not record.payload:
        return {}
    if is_shard and record.kind == STATE:
        try:
            return named_state(record.payload)
        except msgspec.MsgspecError:
            return {"payload": record.payload.hex()}  # of a newer version
    try:
        return {"payload": msgspec.to_builtins(msgspec.msgpack.decode(record.payload))}
    except (msgspec.MsgspecError, TypeError, ValueError):
        return {"payload": record.payload.hex()}


def _text_line(record: LogRecord | Damage, is_shard: bool) -> str:
    if isinstance(record, Damage):
        length = record.end - record.start
        return f"{record.start:>14}  DAMAGE    {length:>8} B  {record.found.value}"
    stamp = datetime.fromtimestamp(record.stored_at_ms / 1000, UTC).isoformat(
        sep=" ", timespec="milliseconds"
    )[:-6]
    line = f"{record.lsn:>14}  {KIND_NAMES[record.kind]:8}  {record.length:>8} B"
    line += f"  {stamp}  epoch {record.epoch}"
    if record.kind == BATCH:
        stop = record.base_offset + record.count
        line += f"  queue {record.queue}  offsets [{record.base_offset}, {stop})"
    elif record.queue:
        line += f"  queue {record.queue}"
    details = _payload(record, is_shard)
    return line + "".join(f"  {name} {value}" for name, value in details.items())


if __name__ == "__main__":
    main()
