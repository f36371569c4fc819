"""The first messages of a stream, which decide the types of columns that are inferred."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING

from penrose_kafka.client_errors import Unreachable, reading_error
from penrose_kafka.topic_names import topic_partition

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from penrose_kafka.source.connection import Connection

__all__ = ["samples"]

#: So many messages of a partition are looked at.
SAMPLE = 1000
#: So long they may take without one coming, in seconds.
SAMPLE_SECONDS = 30.0


def samples(connection: Connection, starts: Mapping[str, int]) -> Generator[list[bytes | None]]:
    """The first values of each partition that has any, by name, until nobody wants more. Raises SourceError.

    Not what happened to arrive first: a run that is started again before its first checkpoint finds the same.
    """
    from confluent_kafka import KafkaException

    sampler = connection.connect()
    try:
        for name, start in sorted(starts.items()):
            low, high = connection.topics.offsets_held(name)
            wanted = min(SAMPLE, high - max(start, low))
            if wanted > 0:
                sampler.assign([topic_partition(name, max(start, low))])
                yield _values(sampler, name, wanted)
    except KafkaException as error:
        raise reading_error(error.args[0], connection.brokers) from error
    finally:
        sampler.close()


def _values(sampler: Consumer, name: str, wanted: int) -> list[bytes | None]:
    """The values of so many messages, or of all up to the end. Raises SourceError where they do not come."""
    from confluent_kafka import KafkaError as Code

    values: list[bytes | None] = []
    heard = time.monotonic()
    while len(values) < wanted:
        for message in sampler.consume(wanted - len(values), 0.1):
            error = message.error()
            heard = time.monotonic()
            if error is None:
                values.append(message.value())
            elif error.code() == Code._PARTITION_EOF:
                return values
        if time.monotonic() - heard > SAMPLE_SECONDS:
            raise Unreachable(
                f"the first messages of {name}, which decide the columns, did not come within {SAMPLE_SECONDS:.0f} "
                f"s; {len(values)} of {wanted} did",
                plugin="kafka",
                partition=name,
                hint="check that the brokers can be reached; then start again",
            )
    return values
