"""The dead-letter topic: bad messages as they were, with the reason and where they stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penrose_kafka.publisher import Publisher

if TYPE_CHECKING:
    from penrose_host import Reject

__all__ = ["DeadLetterTopic"]

FLUSH_SECONDS = 120.0
#: What could be read can be published: above librdkafka's own 1 MB it is the brokers who say what is too large. As much
#: as its queue has room for.
LARGEST_BYTES = 48 << 20


class DeadLetterTopic:
    """Publishes dead letters, at least once each: the key `TOPIC/PARTITION/OFFSET` tells which are the same."""

    def __init__(self, topic: str, config: Mapping[str, Any]) -> None:
        self._topic = topic
        self._publisher = Publisher({"message.max.bytes": LARGEST_BYTES, **config})

    def send(self, rejects: Sequence[Reject], rows_per_message: int) -> None:
        """Publish them; on return the brokers have them. Raises SinkError."""
        for reject in rejects:
            offset = reject.offset // rows_per_message
            self._publisher.send(
                self._topic,
                reject.raw,
                key=f"{reject.partition}/{offset}".encode(),
                headers={
                    "penrose.reason": reject.reason.encode("utf-8", "backslashreplace"),
                    "penrose.partition": reject.partition.encode(),
                    "penrose.offset": str(offset).encode(),
                },
            )
        self._publisher.flush(FLUSH_SECONDS)

    def close(self) -> None:
        """May be called twice."""
        self._publisher.close()
