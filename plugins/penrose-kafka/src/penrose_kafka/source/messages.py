"""Messages into columns: their values through a decoder, and what Kafka keeps beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pyarrow as pa
from confluent_kafka import Message

from penrose_host import OFFSET, PARTITION, Chunk, Reject

if TYPE_CHECKING:
    from penrose_host import Int64
    from penrose_host.decoding import Decoder
    from penrose_kafka.source.fetching import Fetched
    from penrose_kafka.source.options import Metadata

__all__ = ["chunk_of"]


class _Raw(Sequence[bytes]):
    """The bytes that rows were made of, looked up when a row turns out to be bad."""

    def __init__(self, values: list[bytes | None], message: Int64) -> None:
        self._values = values
        self._message = message

    @overload
    def __getitem__(self, row: int) -> bytes: ...
    @overload
    def __getitem__(self, row: slice) -> list[bytes]: ...
    def __getitem__(self, row: int | slice) -> bytes | list[bytes]:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        return self._values[int(self._message[row])] or b""

    def __len__(self) -> int:
        return len(self._message)


def chunk_of(fetched: Fetched, decoder: Decoder, metadata: Metadata) -> Chunk:
    """The rows of messages, from the first on that is wanted of each partition.

    Of a decoder with several rows a message, a row's offset is the message's times `decoder.rows_per_message`, plus
    the row's number in it.
    """
    unit, first = decoder.rows_per_message, fetched.index.first
    decoded = decoder.decode(fetched.values)
    batch, message, faults = decoded.batch, decoded.message, dict(decoded.faults)
    columns, bad = _beside(fetched, metadata)
    for index, fault in bad.items():
        faults.setdefault(index, fault)
    partition, offset = fetched.partition[message], fetched.offset[message] * unit
    if decoded.row is not None:
        offset = offset + decoded.row
    columns = {name: column.take(pa.array(message)) for name, column in columns.items()} if columns else {}
    wanted = None
    if unit > 1 or bad:
        wanted = offset >= first[partition]
        wanted &= ~np.isin(message, np.fromiter(bad, dtype=np.int64, count=len(bad)))
        kept = pa.array(np.flatnonzero(wanted))
        batch, message, partition, offset = batch.take(kept), message[wanted], partition[wanted], offset[wanted]
        columns = {name: column.take(kept) for name, column in columns.items()}
    names = pa.DictionaryArray.from_arrays(pa.array(partition), pa.array(fetched.index.names, pa.string()))
    arrays: dict[str, Any] = {
        **dict(zip(batch.schema.names, batch.columns, strict=True)),
        **columns,
        PARTITION: names,
        OFFSET: pa.array(offset),
    }
    rejects = tuple(
        _reject(fetched, index, fault, unit)
        for index, fault in sorted(faults.items())
        if unit == 1 or fetched.offset[index] * unit >= first[fetched.partition[index]]
    )
    return Chunk(pa.RecordBatch.from_pydict(arrays), rejects, _Raw(fetched.values, message))


def _reject(fetched: Fetched, index: int, fault: str, unit: int) -> Reject:
    name = fetched.index.names[int(fetched.partition[index])]
    return Reject(name, int(fetched.offset[index]) * unit, fault, fetched.values[index] or b"")


def _beside(fetched: Fetched, metadata: Metadata) -> tuple[dict[str, pa.Array], dict[int, str]]:
    """The columns of what is kept beside the values, and the messages whose key or headers are no text."""
    columns: dict[str, pa.Array] = {}
    bad: dict[int, str] = {}
    messages = fetched.messages
    if metadata.key is not None:
        columns[metadata.key] = _text(list(map(Message.key, messages)), "the key", bad)
    if metadata.timestamp is not None:
        columns[metadata.timestamp] = _times(list(map(Message.timestamp, messages)))
    if metadata.topic is not None or metadata.partition is not None:
        split = [name.rpartition("/") for name in fetched.index.names]
        if metadata.topic is not None:
            topics = pa.array([topic for topic, _, _ in split], pa.string())
            columns[metadata.topic] = pa.DictionaryArray.from_arrays(pa.array(fetched.partition), topics).cast(
                pa.string()
            )
        if metadata.partition is not None:
            numbers = np.array([int(number) for _, _, number in split], dtype=np.int32)
            columns[metadata.partition] = pa.array(numbers[fetched.partition])
    if metadata.offset is not None:
        columns[metadata.offset] = pa.array(fetched.offset)
    if metadata.headers:
        found = [dict(headers) if headers else {} for headers in map(Message.headers, messages)]
        for header, name in metadata.headers.items():
            columns[name] = _text([given.get(header) for given in found], f"the header {header!r}", bad)
    return columns, bad


def _text(values: list[Any], what: str, bad: dict[int, str]) -> pa.Array:
    """Bytes as text; where they are not UTF-8 the message is bad, and the text null."""
    try:
        return pa.array([value.decode() if isinstance(value, bytes) else value for value in values], pa.string())
    except UnicodeDecodeError:
        texts: list[str | None] = []
        for index, value in enumerate(values):
            try:
                texts.append(value.decode() if isinstance(value, bytes) else value)
            except UnicodeDecodeError:
                texts.append(None)
                bad.setdefault(index, f"{what} is not UTF-8: {value[:100]!r}")
        return pa.array(texts, pa.string())


def _times(stamps: list[tuple[int, int]]) -> pa.Array:
    """Timestamps in milliseconds; null where a message has none."""
    kinds = np.array([kind for kind, _ in stamps], dtype=np.int64)
    millis = np.array([value for _, value in stamps], dtype=np.int64)
    return pa.array(millis, mask=kinds == 0).cast(pa.timestamp("ms", "UTC"))
