"""The datasource `kafka` in a process under test: it tells its phases, and checks what the broker was told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fault_stage import reach

from penrose_host import Chunk, Position, Reject
from penrose_kafka.source.kafka_source import KafkaSource
from penrose_kafka.topic_names import topic_partition

__all__ = ["StagedKafka"]


class StagedKafka(KafkaSource):
    """`kafka`, unchanged; what it commits to the broker must never be ahead of the checkpoint."""

    def open(self, assignment: Mapping[str, int | None]) -> None:
        reach("source: open")
        for at in self._connection.consumer.committed([topic_partition(name) for name in assignment], timeout=30):
            name = f"{at.topic}/{at.partition}"
            assert (assignment.get(name) or 0) >= at.offset, f"{name}: {assignment} is behind the commit of {at.offset}"
        super().open(assignment)

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        reach("source: read")
        return super().read(min(max_rows, 700), timeout)

    def commit(self, position: Position) -> None:
        reach("source: commit")
        super().commit(position)

    def dead_letters(self, letters: Sequence[Reject]) -> None:
        super().dead_letters(letters)
        reach("letters: sent, not noted")
