"""What `penrose kafka dev` does: a broker until somebody asks for the end."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping

from penrose_kafka.dev_broker.brokers import SERVERS, Server
from penrose_kafka.dev_broker.errors import broker_error

__all__ = ["run"]

_STOPS = (signal.SIGINT, signal.SIGTERM)
_NOTES = {
    "mock": "note: of each partition the oldest messages are dropped near 5 MB (compressed) or 100,000 messages;\n"
    "  for more, make more partitions with --topic NAME:PARTITIONS, or use --server tansu",
    "tansu": "note: tansu tells the end of a partition up to a batch too early, and cannot find offsets by time:\n"
    "  a run that ends at `now` may leave the last messages out; the mock cluster (--server mock) does not",
}


def run(server: str | None, topics: Mapping[str, int], port: int | None, *, json_wanted: bool) -> int:
    """Start the broker and make the topics (name → partitions), print its address, and wait for SIGINT or SIGTERM.

    Raises `PluginError` where it cannot start, or ends by itself.
    """
    name = server or ("mock" if port is None else "tansu")
    with SERVERS[name](port) as broker:
        for topic, partitions in topics.items():
            broker.create_topic(topic, partitions)
        # From here on a signal only ends the wait; until here it ends this process, and the broker with it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        try:
            facts = {"address": broker.address, "server": name, "topics": dict(topics)}
            print(json.dumps(facts) if json_wanted else broker.address, flush=True)
            print(_NOTES[name], file=sys.stderr, flush=True)
            _wait(broker)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return 0


def _wait(broker: Server) -> None:
    while signal.sigtimedwait(_STOPS, 0.5) is None:
        if (status := broker.process.poll()) is not None:
            raise broker_error(
                f"the broker {broker.name} ended by itself, with status {status}",
                "start it again; what it held is lost",
            )
