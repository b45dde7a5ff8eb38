"""`shardmq serve` as an operator meets it: starts, says where, stops in order, refuses clearly."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import psutil
import pytest

from support.cli import Serve, output_on_terminal, run


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal_and_then_ends_with_status_0(
    number: signal.Signals, tmp_path: Path
) -> None:
    with Serve(tmp_path, "--shards", "1", "--auto-create") as serve:
        children = psutil.Process(serve.process.pid).children(recursive=True)
        assert len(children) == 3, "shard, coordinator, router"
        sent = run("send", "orders", "hello", url=serve.url)
        assert sent.returncode == 0, sent.stderr
        assert serve.stop(number) == 0
    assert serve.log[-1]["text"] == "stopped"
    gone, alive = psutil.wait_procs(children, timeout=5)
    assert not alive, "no process outlives the broker"
    assert gone


def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    with Serve(tmp_path, "--shards", "2", "--auto-create") as serve:
        lines = b"".join(b"message %d\n" % number for number in range(500))
        assert run("send", "orders", "--lines", url=serve.url, given=lines).returncode == 0
        assert serve.stop(signal.SIGTERM) == 0
    with Serve(tmp_path) as serve:
        read = run("consume", "orders", "-F", "raw", url=serve.url)
        assert sorted(read.stdout.splitlines(True)) == sorted(lines.splitlines(True))


def test_logs_are_json_lines_where_no_terminal_is(tmp_path: Path) -> None:
    with Serve(tmp_path, "--shards", "1") as serve:
        assert serve.stop() == 0
    (serving,) = [event for event in serve.log if event["text"] == "serving"]
    assert serving["url"].startswith("tcp://127.0.0.1:")
    assert serving["shards"] == 1
    assert serving["data"] == str(tmp_path / "data")
    assert all({"time", "level", "actor", "text"} <= set(event) for event in serve.log)


def test_a_terminal_shows_a_summary_with_commands_to_copy(tmp_path: Path) -> None:
    words = ["serve", "--listen", "tcp://127.0.0.1:0", "--shards", "1"]
    shown, status = output_on_terminal(words, "Ctrl-C stops it", tmp_path)
    assert status == 0
    assert "listens on" in shown
    assert str(tmp_path / "shardmq-data") in shown
    assert "shardmq topic create orders" in shown
    assert "shardmq consume orders" in shown
    assert not shown.lstrip().startswith("{"), "logs are for people here"


def test_a_directory_in_use_is_refused_and_says_by_whom(tmp_path: Path) -> None:
    with Serve(tmp_path, "--shards", "1") as serve:
        words = ["--data", str(serve.data), "--listen", "tcp://127.0.0.1:0"]
        finished = run("serve", *words)
        assert finished.returncode == 1
        assert f"process {serve.process.pid}" in finished.stderr.decode()
        assert "DATA_DIR_IN_USE" in finished.stderr.decode()


def test_a_directory_of_another_version_is_refused_unchanged(tmp_path: Path) -> None:
    with Serve(tmp_path, "--shards", "1") as serve:
        assert serve.stop() == 0
    file = serve.data / "format.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))
    before = sorted((path, path.stat().st_mtime_ns) for path in serve.data.glob("shard-0/*"))
    finished = run("serve", "--data", str(serve.data), "--listen", "tcp://127.0.0.1:0")
    assert finished.returncode == 1
    assert "format 99" in finished.stderr.decode()
    assert sorted((p, p.stat().st_mtime_ns) for p in serve.data.glob("shard-0/*")) == before


@pytest.mark.parametrize(
    ("words", "code", "status"),
    [
        (["--listen", "tcp://0.0.0.0:5999"], "NOT_LOOPBACK", 1),
        (["--listen", "nonsense://x"], "ADDRESS_INVALID", 1),
        (["--shards", "-1"], "INVALID_CONFIG", 2),
        (["--config", "gone.toml"], "INVALID_CONFIG", 2),
    ],
)
def test_what_cannot_be_served_is_refused_with_code_and_hint(
    words: list[str], code: str, status: int, tmp_path: Path
) -> None:
    finished = run("serve", *words, cwd=tmp_path)
    assert finished.returncode == status
    text = finished.stderr.decode()
    assert f"error {code}: " in text
    assert "\nhint  " in text
    assert not (tmp_path / "shardmq-data").exists()


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        finished = run("serve", "--listen", address, "--shards", "1", cwd=tmp_path)
    assert finished.returncode == 1
    assert "ADDRESS_IN_USE" in finished.stderr.decode()


def test_sigusr1_dumps_the_stacks_of_each_process_and_ends_none(tmp_path: Path) -> None:
    with Serve(tmp_path, "--shards", "1", "--auto-create") as serve:
        root = psutil.Process(serve.process.pid)
        for process in (root, *root.children()):
            process.send_signal(signal.SIGUSR1)
        assert run("send", "orders", "hello", url=serve.url).returncode == 0
        assert serve.stop() == 0
    assert sum("most recent call first" in line for line in serve.beside) >= 4


def test_settings_come_from_the_file_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "shardmq.toml").write_text("[broker]\nshards = 0.5\n", encoding="utf-8")
    finished = run("serve", cwd=tmp_path)
    assert finished.returncode == 2
    assert "shardmq.toml: broker.shards" in finished.stderr.decode()


def test_the_descriptor_limit_is_raised_for_all_processes(tmp_path: Path) -> None:
    with Serve(tmp_path, "--shards", "1") as serve:
        root = psutil.Process(serve.process.pid)
        limits = [one.rlimit(psutil.RLIMIT_NOFILE) for one in (root, *root.children())]
        assert all(soft in (65_536, hard) or soft > 65_536 for soft, hard in limits)
