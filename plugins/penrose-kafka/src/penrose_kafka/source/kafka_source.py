"""The datasource `kafka`: messages of topics as rows, positions kept by the checkpoint.

A partition is `TOPIC/NUMBER`, its offset Kafka's own (of Arrow messages, which hold many rows, the offset times the
most rows that one may hold, plus the row's number). The host assigns partitions; the consumer never joins a group, as
a group may hand a partition to somebody who would train again what was trained since the checkpoint.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from penrose_host import API_VERSION, Capability, DataSource
from penrose_kafka.source.connection import Connection
from penrose_kafka.source.feedback import Feedback
from penrose_kafka.source.options import KafkaOptions
from penrose_kafka.source.reader import Reader

if TYPE_CHECKING:
    from penrose_host import Chunk, Lag, Position, Reject

__all__ = ["KafkaSource"]


class KafkaSource(DataSource):
    """Messages of Kafka topics as rows, exactly once: positions belong to the checkpoint.

    It is three things: a connection to the brokers, a reader of rows, and what is sent back to the brokers.
    """

    api_version: ClassVar[int] = API_VERSION
    Options = KafkaOptions
    capabilities = frozenset({Capability.SEEK, Capability.COMMIT, Capability.UNBOUNDED, Capability.DEAD_LETTERS})

    options: KafkaOptions

    def __init__(self, options: KafkaOptions) -> None:
        super().__init__(options)
        if options.end is not None:
            self.capabilities = self.capabilities - {Capability.UNBOUNDED}
        if options.dead_letter_topic is None:
            self.capabilities = self.capabilities - {Capability.DEAD_LETTERS}
        self._connection = Connection(options)
        self._reader = Reader(self._connection, options)
        self._feedback = Feedback(self._connection, options)

    @property
    def source_id(self) -> str:
        return f"kafka:{self.options.decoder.format}:{','.join(sorted(self.options.topics))}"

    def partitions(self) -> Sequence[str]:
        return self._connection.partitions()

    def bound(self, until: str | Mapping[str, int]) -> None:
        self._reader.positions.bound(until)

    def expect(self, stamps: Mapping[str, str]) -> None:
        self._reader.positions.expect(stamps)

    def stamps(self) -> Mapping[str, str]:
        return self._reader.positions.stamps.texts

    def open(self, assignment: Mapping[str, int | None]) -> None:
        self._reader.open(assignment)

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        return self._reader.read(max_rows, timeout)

    def pause(self, partitions: Collection[str]) -> None:
        self._reader.pause(partitions)

    def ended(self) -> Collection[str]:
        return self._reader.ended()

    def commit(self, position: Position) -> None:
        self._feedback.commit(position.offsets, self._reader.rows_per_message)

    def dead_letters(self, rejects: Sequence[Reject]) -> None:
        self._feedback.dead_letters(rejects, self._reader.rows_per_message)

    def lag(self) -> Lag | None:
        return self._reader.lag()

    def close(self) -> None:
        self._feedback.close()
        self._connection.close()
