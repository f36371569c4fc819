"""The process of a mock cluster: `python -m penrose_kafka.dev_broker.mock_server`.

It prints its address, then obeys lines of JSON, `["create_topic", "flights", 8]`, each answered by one of JSON: null,
or the text of an error. It ends at the end of its input, so also when whoever started it has died.
"""

from __future__ import annotations

import json
import signal
import sys

from penrose_host import PenroseError
from penrose_kafka.dev_broker.mock_cluster import MockCluster

__all__ = ["main"]

_ORDERS = frozenset({"create_topic", "refuse_topic", "delete_records", "down", "up"})


def main() -> int:
    """Serve until the input ends."""
    # Ctrl-C reaches every process of a terminal; whoever started this one decides when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cluster = MockCluster()
    print(cluster.address, flush=True)
    for line in sys.stdin:
        order, *arguments = json.loads(line)
        answer = None if order in _ORDERS else f"no such order: {order}"
        try:
            if answer is None:
                getattr(cluster, order)(*arguments)
        except PenroseError as error:
            answer = str(error)
        print(json.dumps(answer), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
