"""The limits that a broker of this shape cannot pass: the same bytes without the broker.

Owns two measurements, made in the same run as the benchmark so that a slow minute of the machine
hits both: frames of the same size through bare ZeroMQ sockets over the same hops (tcp, ipc, and an
answer back), and blocks of the same size through bare `writev`, with and without `fdatasync`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import zmq

__all__ = ["RawFigures", "main", "measure_raw", "raw_sockets", "raw_writev"]

_WINDOW = 8
"""Requests under way at once: one a queue, as a producer has them."""
_FILE_BYTES = 256 * 1024 * 1024
_HEADER = b"h" * 64


class RawFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Payload bytes a second through each limit."""

    frame_bytes: int
    sockets_bytes_per_second: float
    sockets_requests_per_second: float
    writev_bytes_per_second: float
    writev_synced_bytes_per_second: float


def measure_raw(frame_bytes: int, seconds: float, directory: Path) -> RawFigures:
    """All limits for payload frames of `frame_bytes`, `seconds` for each of the three."""
    requests_per_second = raw_sockets(frame_bytes, seconds)
    return RawFigures(
        frame_bytes=frame_bytes,
        sockets_bytes_per_second=round(requests_per_second * frame_bytes),
        sockets_requests_per_second=round(requests_per_second, 1),
        writev_bytes_per_second=round(raw_writev(frame_bytes, seconds, directory, synced=False)),
        writev_synced_bytes_per_second=round(
            raw_writev(frame_bytes, seconds, directory, synced=True)
        ),
    )


def raw_sockets(frame_bytes: int, seconds: float, window: int = _WINDOW) -> float:
    """Requests a second: DEALER over tcp to a forwarder, over ipc to a sink, answered back, with
    `window` of them under way at once."""
    with tempfile.TemporaryDirectory(prefix="smq-raw-") as folder:
        sink_address = f"ipc://{folder}/sink"
        command = [sys.executable, "-m", "shardmq.router.bench.raw"]
        sink = subprocess.Popen([*command, "sink", sink_address], stdin=subprocess.PIPE)
        forwarder = subprocess.Popen(
            [*command, "forward", sink_address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert forwarder.stdout is not None, "it was made with a pipe"
            address = forwarder.stdout.readline().decode().strip()
            return _pump(address, frame_bytes, seconds, window)
        finally:
            for child in (forwarder, sink):
                child.terminate()
                child.wait()
                for pipe in (child.stdin, child.stdout):
                    if pipe is not None:
                        pipe.close()


def _pump(address: str, frame_bytes: int, seconds: float, window: int) -> float:
    payload = os.urandom(frame_bytes)
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(address)
        answered = 0
        for _ in range(window):
            dealer.send_multipart([b"r" * 24, _HEADER, payload], copy=frame_bytes < 65536)
        dealer.recv_multipart()  # the connections stand: from here on it counts
        start = time.monotonic()
        while (spent := time.monotonic() - start) < seconds:
            dealer.send_multipart([b"r" * 24, _HEADER, payload], copy=frame_bytes < 65536)
            dealer.recv_multipart()
            answered += 1
        return answered / spent


def raw_writev(block_bytes: int, seconds: float, directory: Path, *, synced: bool) -> float:
    """Bytes a second into a preallocated file that is written again from its start when full."""
    block = os.urandom(block_bytes)
    prefix = b"p" * 64
    path = directory / "raw-writev"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _FILE_BYTES)
        os.fsync(descriptor)
        written = position = 0
        start = time.monotonic()
        while (spent := time.monotonic() - start) < seconds:
            if position + block_bytes + 64 > _FILE_BYTES:
                position = os.lseek(descriptor, 0, os.SEEK_SET)
            position += os.writev(descriptor, [prefix, block])
            if synced:
                os.fdatasync(descriptor)
            written += block_bytes
        return written / spent
    finally:
        os.close(descriptor)
        path.unlink()


def _forward(sink_address: str) -> None:
    """A router that does nothing but forward."""
    with zmq.Context() as context:
        front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        port = front.bind_to_random_port("tcp://127.0.0.1")
        back.connect(sink_address)
        sys.stdout.write(f"tcp://127.0.0.1:{port}\n")
        sys.stdout.flush()
        poller = zmq.Poller()
        for socket in (front, back):
            poller.register(socket, zmq.POLLIN)
        while True:
            for socket, _events in poller.poll():
                to = back if socket is front else front
                to.send_multipart(socket.recv_multipart(copy=False), copy=False)


def _sink(address: str) -> None:
    """A shard that does nothing but answer."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as mailbox:
        mailbox.bind(address)
        while True:
            link, peer, route, header, _payload = mailbox.recv_multipart()
            mailbox.send_multipart([link, peer, route, header])


def main() -> None:
    """A child of `raw_sockets`: `forward ADDRESS` or `sink ADDRESS`."""
    role, address = sys.argv[1:]
    (_forward if role == "forward" else _sink)(address)


if __name__ == "__main__":
    main()
