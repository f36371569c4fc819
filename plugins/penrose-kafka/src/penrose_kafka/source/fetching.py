"""Messages from the consumer, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from confluent_kafka import KafkaError, Message

from penrose_kafka.client_errors import reading_error
from penrose_kafka.topic_names import partition_name, topic_partition

if TYPE_CHECKING:
    from penrose_host import Int32, Int64
    from penrose_kafka.source.assignment import Assignment
    from penrose_kafka.source.connection import Connection
    from penrose_kafka.source.positions import Positions

__all__ = ["Fetched", "Fetcher", "PartitionIndex"]

#: So many messages the client hands over at a time: ten thousand objects at once cost twice as much each.
_AT_ONCE = 2048


class PartitionIndex:
    """The partitions by number: their `names`, and of each the `first` row that is wanted."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.first: Int64 = np.zeros(0, dtype=np.int64)
        self._tables: dict[str, Int32] = {}  # topic → number of a partition in it → number here

    def add(self, rows: Mapping[str, int]) -> None:
        """Number further partitions: name → the first row that is wanted."""
        for index, name in enumerate(rows, len(self.names)):
            at = topic_partition(name)
            table = self._tables.get(at.topic, np.zeros(0, dtype=np.int32))
            if at.partition >= len(table):
                table = np.concatenate([table, np.full(at.partition + 1 - len(table), -1, dtype=np.int32)])
            table[at.partition] = index
            self._tables[at.topic] = table
        self.names += rows
        self.first = np.concatenate([self.first, np.array(list(rows.values()), dtype=np.int64)])

    def of(self, messages: Sequence[Message]) -> Int32:
        """The number of each message's partition."""
        count = len(messages)
        number = np.fromiter(map(Message.partition, messages), dtype=np.int32, count=count)
        if len(self._tables) == 1:
            [table] = self._tables.values()
            return table[number]
        index = np.empty(count, dtype=np.int32)
        topics = np.array(list(map(Message.topic, messages)), dtype=object)
        for topic, table in self._tables.items():
            here = np.flatnonzero(topics == topic)
            index[here] = table[number[here]]
        return index


@dataclass(frozen=True, slots=True)
class Fetched:
    """Messages as arrays: `partition` are numbers in `index`; `values` are the bytes, None where there are none.

    `messages` themselves are kept only where columns are made of what lies beside the values.
    """

    messages: Sequence[Message]
    values: list[bytes | None]
    index: PartitionIndex
    partition: Int32
    offset: Int64

    def __len__(self) -> int:
        return len(self.values)

    def next_offsets(self) -> dict[str, int]:
        """Partition → the offset behind its latest message."""
        # In order: the last one of a partition is its latest.
        last = {
            number: len(self) - 1 - int(np.argmax(self.partition[::-1] == number))
            for number in np.unique(self.partition).tolist()
        }
        return {self.index.names[number]: int(self.offset[message]) + 1 for number, message in last.items()}

    def before(self, ends: Mapping[str, int]) -> Fetched:
        """Those that lie before the ends of their partitions, all of which are given."""
        bounds = np.array([ends[name] for name in self.index.names], dtype=np.int64)
        inside = self.offset < bounds[self.partition]
        return self if inside.all() else self._take(np.flatnonzero(inside))

    def _take(self, kept: Int64) -> Fetched:
        which = kept.tolist()
        return Fetched(
            [self.messages[i] for i in which] if self.messages else (),
            [self.values[i] for i in which],
            self.index,
            self.partition[kept],
            self.offset[kept],
        )


class Fetcher:
    """Takes messages from the consumer. `index` numbers the partitions of an assignment."""

    def __init__(
        self, connection: Connection, assignment: Assignment, positions: Positions, *, whole_messages: bool
    ) -> None:
        """`whole_messages`: keep the messages themselves too."""
        self.index = PartitionIndex()
        self._connection = connection
        self._assignment = assignment
        self._positions = positions
        self._whole_messages = whole_messages

    def fetch(self, wanted: int, timeout: float) -> Fetched | None:
        """So many messages, or what is there now; None where none comes within `timeout` seconds."""
        consumer = self._connection.consumer
        parts: list[Fetched] = []
        while wanted > 0:
            size = min(wanted, _AT_ONCE)
            messages = consumer.consume(size, 0)
            if not messages and not parts:
                messages = consumer.consume(1, timeout)
                size = len(messages)
                self._connection.check(bool(messages))
            came = len(messages)
            if messages := self._without_errors(messages):
                parts.append(self._arrays(messages))
            del messages  # before the next ones are made
            wanted -= came
            if came < size or not came:
                break
        return _joined(parts) if parts else None

    def _arrays(self, messages: list[Message]) -> Fetched:
        return Fetched(
            messages if self._whole_messages else (),
            list(map(Message.value, messages)),
            self.index,
            self.index.of(messages),
            np.fromiter(map(Message.offset, messages), dtype=np.int64, count=len(messages)),
        )

    def _without_errors(self, messages: list[Message]) -> list[Message]:
        """The messages that are some; ends of partitions are noted, errors raised."""
        errors = list(map(Message.error, messages))
        if not any(errors):
            return messages
        for message, error in zip(messages, errors, strict=True):
            if error is None:
                continue
            name, offset = partition_name(message.topic() or "", message.partition() or 0), message.offset() or 0
            if error.code() == KafkaError._PARTITION_EOF:
                self._assignment.reached(name, offset)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                # What comes next is not there: it expired, or the topic is not what it was. The offset is that of the
                # error, which may lie behind messages of this batch.
                self._assignment.restart(name, self._positions.within(name, offset))
            elif error.fatal() or not (
                error.retriable() or error.code() in (KafkaError._TRANSPORT, KafkaError._TIMED_OUT)
            ):
                raise reading_error(
                    error, self._connection.brokers, partition=name, offset=self._assignment.next.get(name)
                )
        return [message for message, error in zip(messages, errors, strict=True) if error is None]


def _joined(parts: Sequence[Fetched]) -> Fetched:
    """Messages that were fetched one part after the other."""
    if len(parts) == 1:
        return parts[0]
    return Fetched(
        [message for part in parts for message in part.messages],
        [value for part in parts for value in part.values],
        parts[0].index,
        np.concatenate([part.partition for part in parts]),
        np.concatenate([part.offset for part in parts]),
    )
