"""One Arrow IPC stream that nobody vouches for."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from penrose_host.decoding.arrow.sizes import unpacked_bytes

__all__ = ["column_type", "plain_batch", "read_stream"]

_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_AS_IT_IS = (
    *(pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_string, pa.types.is_binary),
    *(pa.types.is_date, pa.types.is_time, pa.types.is_timestamp, pa.types.is_duration, pa.types.is_decimal),
)


def read_stream(data: bytes, most_rows: int, most_bytes: int) -> list[pa.RecordBatch]:
    """The batches of the stream that is `data`, valid in full. Raises ValueError or ArrowException where it is none."""
    if not data.endswith(_END):
        raise ValueError("the stream does not end with an end-of-stream marker")
    _check_sizes(data, most_bytes)
    source = pa.BufferReader(data)
    batches: list[pa.RecordBatch] = []
    rows = 0
    with pa.ipc.open_stream(source) as stream:
        names = stream.schema.names
        for kind in stream.schema.types:
            column_type(kind)  # raises where a name in it is not text
        if len(set(names)) != len(names):
            raise ValueError(f"two columns are called {max(names, key=names.count)!r}")
        for batch in stream:
            rows += batch.num_rows
            if rows > most_rows:
                raise ValueError(f"the stream has more than {most_rows} rows")
            batch.validate(full=True)
            batches.append(batch)
        if source.tell() != len(data):
            raise ValueError(f"the stream ends after {source.tell()} of {len(data)} bytes")
    return batches or [pa.RecordBatch.from_pylist([], schema=stream.schema)]


def column_type(kind: Any) -> pa.DataType | None:
    """The type of a column for values of this type; None where no column can hold them.

    Views are refused: rows of a few bytes could all show the same megabytes. So are decimals whose digits do not reach
    their point: casting one with a scale of a billion reads memory that is not there.
    """
    types = pa.types
    if isinstance(kind, pa.ExtensionType):
        return column_type(kind.storage_type)
    if types.is_dictionary(kind):
        return None if types.is_nested(kind.value_type) else column_type(kind.value_type)
    if types.is_large_string(kind):
        return pa.string()
    if types.is_large_binary(kind):
        return pa.binary()
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        item = None if types.is_dictionary(kind.value_type) else column_type(kind.value_type)
        return None if item is None else pa.list_(item)
    if types.is_struct(kind):
        fields = [(f.name, None if types.is_dictionary(f.type) else column_type(f.type)) for f in kind]
        if not fields or len({name for name, _ in fields}) < len(fields) or any(type_ is None for _, type_ in fields):
            return None
        return pa.struct(fields)
    if types.is_fixed_size_binary(kind) and kind.byte_width > 0:
        return kind
    if types.is_timestamp(kind) and kind.tz is not None and not _is_zone(kind.tz):
        return None
    if types.is_decimal(kind) and not 0 <= kind.scale <= kind.precision:
        return None
    return kind if any(is_it(kind) for is_it in _AS_IT_IS) else None


def plain_batch(batch: pa.RecordBatch, names: set[str], most_bytes: int) -> pa.RecordBatch:
    """These columns without dictionary and extension. Raises ValueError where one would have more than `most_bytes`."""
    columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in names:
            try:
                columns[name] = _plain(column, most_bytes)
            except ValueError as error:
                raise ValueError(f"column {name!r}: {error}") from error
    return pa.RecordBatch.from_pydict(columns) if columns else batch.select([])


def _plain(array: Any, most_bytes: int) -> pa.Array:
    if isinstance(array.type, pa.ExtensionType):
        return _plain(array.storage, most_bytes)
    if not pa.types.is_dictionary(array.type):
        return array
    values = array.dictionary
    if column_type(values.type) in (pa.string(), pa.binary()):
        size = pc.sum(pc.cast(pc.take(pc.binary_length(values), array.indices), pa.int64())).as_py() or 0
    else:
        size = len(array) * values.type.bit_width // 8
    if size > most_bytes:
        raise ValueError(f"it has {size} bytes without its dictionary, more than {most_bytes}")
    return array.dictionary_decode()


def _is_zone(name: str) -> bool:
    try:
        pa.lib.string_to_tzinfo(name)
    except (pa.ArrowInvalid, LookupError):  # the second where pytz is installed
        return False
    return True


def _check_sizes(data: bytes, most_bytes: int) -> None:
    total = 0
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(data)):
        try:
            total += unpacked_bytes(message.metadata.to_pybytes(), memoryview(message.body or b""))
        except struct.error as error:
            raise ValueError(f"the metadata is broken: {error}") from error
        if total > most_bytes:
            raise ValueError(f"the stream unpacks to more than `max_message_bytes` ({most_bytes}) allows")
