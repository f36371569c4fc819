"""The sink `kafka`: rows as messages of a topic, each acknowledged before `flush` returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import cycle, islice, repeat
from typing import TYPE_CHECKING, Any, ClassVar

from penrose_host import Sink, SinkError
from penrose_kafka.sink.options import KafkaSinkOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from penrose_kafka.publisher import Publisher

__all__ = ["KafkaSink"]

#: Columns that say where a row came from; they are not published.
_ORIGIN = ("_partition", "_offset")
#: So many rows are encoded at a time.
_SLICE = 8192
#: librdkafka's words for: the partition that the key asks for; now.
_ANY, _NOW = -1, 0


class KafkaSink(Sink):
    """Publishes with an idempotent producer: to each partition in the order of the rows, and once while it is open."""

    api_version: ClassVar[int] = 1
    Options = KafkaSinkOptions
    options: KafkaSinkOptions

    def __init__(self, options: KafkaSinkOptions) -> None:
        super().__init__(options)
        self._publisher: Publisher | None = None
        self._partitions = 0
        self._next = 0
        #: Source partition → topic partition, in the order in which they come.
        self._topic_partitions: dict[str, int] = {}

    def open(self) -> None:
        """Connect; make the topic where it is missing. Raises `SinkError`, `ConfigError` for wrong client options."""
        from confluent_kafka import KafkaException

        from penrose_kafka.client_config import bad_option, resolved
        from penrose_kafka.publisher import Publisher
        from penrose_kafka.sink.topic_creation import ensure_topic

        patience = self.options.patience / 1e6
        own = {"bootstrap.servers": ",".join(self.options.brokers)}
        client = {**resolved(self.options.client, "sink.client"), **own}
        try:
            self._publisher = Publisher({**client, "message.timeout.ms": int(patience * 1000)})
        except KafkaException as error:
            raise bad_option(error, self.options.client, "sink.client") from None  # it may hold a secret
        self._partitions = ensure_topic(client, self.options.topic, self.options.partitions, min(patience, 60.0))

    def write(self, rows: pa.RecordBatch) -> None:
        """Hand the rows over, in slices."""
        if self._publisher is None:
            raise SinkError("the sink is not open", plugin="kafka")
        for start in range(0, rows.num_rows, _SLICE):
            self._write(self._publisher, rows.slice(start, _SLICE))

    def flush(self) -> None:
        """Wait until all of it is acknowledged."""
        if self._publisher is not None:
            self._publisher.flush(self.options.patience / 1e6 + 5)

    def close(self) -> None:
        """Let go of the client."""
        if self._publisher is not None:
            self._publisher.close()

    def _write(self, publisher: Publisher, rows: pa.RecordBatch) -> None:
        if self.options.rows_per_message > 1:
            self._write_blocks(publisher, rows)
            return
        keys, numbers, stamps = self._keys(rows), self._numbers(rows), self._stamps(rows)
        publisher.send_all(self.options.topic, self._values(rows), keys, numbers, stamps)

    def _values(self, rows: pa.RecordBatch) -> list[bytes]:
        published = rows.drop_columns([name for name in _ORIGIN if name in rows.schema.names])
        if self.options.format == "arrow":
            return [_stream(published.slice(row, 1)) for row in range(published.num_rows)]
        from penrose_kafka.sink.json_values import json_values

        try:
            return json_values(published)
        except ValueError as error:
            raise self._failure(
                f"a value has no JSON: {error}", "leave its column out, or set `format: arrow`"
            ) from error

    def _write_blocks(self, publisher: Publisher, rows: pa.RecordBatch) -> None:
        """Messages of several rows, which all come from one source partition."""
        for partition, run in self._runs(rows):
            for start in range(0, run.num_rows, self.options.rows_per_message):
                block = run.slice(start, self.options.rows_per_message)
                value = _stream(block.drop_columns([name for name in _ORIGIN if name in block.schema.names]))
                number = self._topic_partition(partition) if self._spread == "source" else next(self._turns(1))
                stamp = next(iter(self._stamps(block)))
                publisher.send_all(self.options.topic, [value], [None], [number], [stamp])

    @property
    def _spread(self) -> str:
        return self.options.spread or ("key" if self.options.key is not None else "source")

    def _numbers(self, rows: pa.RecordBatch) -> Iterable[int]:
        """The topic's partition for each row."""
        if self._spread == "key":
            return repeat(_ANY)
        if self._spread == "round-robin":
            return self._turns(rows.num_rows)
        return [
            number
            for partition, run in self._runs(rows)
            for number in [self._topic_partition(partition)] * run.num_rows
        ]

    def _turns(self, count: int) -> Iterator[int]:
        first, self._next = self._next, (self._next + count) % self._partitions
        return islice(cycle(range(self._partitions)), first, first + count)

    def _topic_partition(self, partition: str) -> int:
        return self._topic_partitions.setdefault(partition, len(self._topic_partitions) % self._partitions)

    def _runs(self, rows: pa.RecordBatch) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Source partition and rows, wherever it changes."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if "_partition" not in rows.schema.names:
            yield "", rows
            return
        ends = pc.run_end_encode(rows.column("_partition").cast(pa.string()))
        start = 0
        for partition, end in zip(ends.values.to_pylist(), ends.run_ends.to_pylist(), strict=True):
            yield partition, rows.slice(start, end - start)
            start = end

    def _keys(self, rows: pa.RecordBatch) -> Iterable[bytes | None]:
        import pyarrow as pa

        if self.options.key is None:
            return repeat(None)
        column = self._column(rows, self.options.key, "key")
        try:
            # Bytes go as they are, text or not; other values as their text.
            text = column if _is_bytes(column.type) else column.cast(pa.large_string())
            keys: list[bytes | None] = text.cast(pa.large_binary()).to_pylist()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise self._failure(f"the values of `key` ({self.options.key}) cannot be keys: {error}") from error
        return keys

    def _stamps(self, rows: pa.RecordBatch) -> Iterable[int]:
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.options.timestamp is None:
            return repeat(_NOW)
        column = self._column(rows, self.options.timestamp, "timestamp")
        if not pa.types.is_timestamp(column.type):
            raise self._failure(
                f"the column of `timestamp` ({self.options.timestamp}) is of type {column.type}, no timestamp"
            )
        millis = column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64())
        # 0 would be now to librdkafka.
        if (least := pc.min(millis).as_py()) is not None and least <= 0:
            raise self._failure(
                f"the column of `timestamp` ({self.options.timestamp}) has a time that is not after "
                "1970-01-01T00:00:00Z, which Kafka cannot keep",
                "leave `timestamp` out: the rows have the column all the same",
            )
        stamps: list[int] = millis.fill_null(_NOW).to_pylist()
        return stamps

    def _column(self, rows: pa.RecordBatch, name: str, option: str) -> pa.Array:
        if name not in rows.schema.names:
            known = ", ".join(found for found in rows.schema.names if found not in _ORIGIN)
            raise self._failure(f"there is no column {name!r}", f"set `sink.{option}` to one of: {known}")
        column = rows.column(name)
        return column.dictionary_decode() if hasattr(column, "dictionary_decode") else column

    def _failure(self, what: str, hint: str | None = None) -> SinkError:
        return SinkError(f"cannot publish to {self.options.topic}: {what}", plugin="kafka", hint=hint)


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(is_it(kind) for is_it in kinds)


def _with_own_dictionary(column: Any) -> pa.Array:
    """A dictionary of what the rows hold: that of the whole stream does not go into every message."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if not pa.types.is_dictionary(kind) or len(column.dictionary) <= len(column):
        return column
    used = column.indices.drop_null().unique()
    indices = pc.index_in(column.indices, used).cast(kind.index_type)
    return pa.DictionaryArray.from_arrays(indices, column.dictionary.take(used), ordered=kind.ordered)


def _stream(rows: pa.RecordBatch) -> bytes:
    import pyarrow as pa

    rows = pa.RecordBatch.from_arrays([_with_own_dictionary(column) for column in rows.columns], schema=rows.schema)
    sink: Any = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    data: bytes = sink.getvalue().to_pybytes()
    return data
