"""Messages for decoders, and what has to hold whatever they are."""

from __future__ import annotations

import csv
import io
import json
import math
import struct
from decimal import Decimal
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from penrose_host.decoding import Decoded, Decoder, DecoderOptions, make_decoder

#: What JSON is broken with.
JSON_TOKENS = [
    *(b"{", b"}", b'"', b"\n", b"null", b",", b"[", b"]", b"}{", b"}\n{", b"\\", b"\xff", b"\x00", b" "),
    *(b"NaN", b"Inf", b"Infinity", b'"a":', b"1e400", b"1e999", b"1"),
]


def spliced(draw: Any, data: bytes, pieces: Any, most: int) -> bytes:
    """A message with up to two pieces in it, each in place of up to `most` bytes; `draw` is hypothesis' own."""
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(data)))
        data = data[:start] + draw(pieces | st.binary(max_size=2)) + data[start + draw(st.integers(0, most)) :]
    return data


def avro(schema: dict[str, Any], value: dict[str, Any], number: int | None = None) -> bytes:
    """One record, with the id of its schema in front if it has one."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return (b"" if number is None else b"\0" + struct.pack(">I", number)) + out.getvalue()


def record(**fields: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": "event",
        "fields": [{"name": name, "type": kind} for name, kind in fields.items()],
    }


def arrow(*batches: pa.RecordBatch, **options: Any) -> bytes:
    """One IPC stream."""
    out = io.BytesIO()
    with pa.ipc.new_stream(out, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        for batch in batches:
            stream.write_batch(batch)
    return out.getvalue()


def rows_of(done: Decoded) -> dict[int, list[dict[str, Any]]]:
    """Index of a message → its rows."""
    rows: dict[int, list[dict[str, Any]]] = {}
    for message, row in zip(done.message.tolist(), as_rows(done.batch), strict=True):
        rows.setdefault(message, []).append(row)
    return rows


def as_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows; times as their numbers, since not every one is a `datetime`."""
    columns = {}
    for field, column in zip(batch.schema, batch.columns, strict=True):
        plain = pa.types.is_temporal(field.type)
        columns[field.name] = (column.cast(INTEGERS[field.type.bit_width]) if plain else column).to_pylist()
    return [{name: values[row] for name, values in columns.items()} for row in range(batch.num_rows)]


INTEGERS = {32: pa.int32(), 64: pa.int64()}


def check(options: DecoderOptions, decoder: Decoder, messages: list[bytes | None], schemas: Any = None) -> Decoded:
    """Decode, and check what holds for any messages and any format."""
    done = decoder.decode(messages)
    done.batch.validate(full=True)
    if decoder.schema is not None:
        assert done.batch.schema == decoder.schema
    else:
        assert done.batch.num_rows == 0 or done.batch.num_columns == 0
    assert len(done.message) == done.batch.num_rows
    assert (np.diff(done.message) >= (0 if done.row is not None else 1)).all()
    assert not set(done.message.tolist()) & set(done.faults)
    assert all(done.faults.values())
    silent = set(range(len(messages))) - set(done.message.tolist()) - set(done.faults)
    for index in silent:
        empty_stream = options.format == "arrow" and messages[index] is not None
        assert empty_stream or (messages[index] is None and options.tombstones == "ignore")
    rows = rows_of(done)
    if options.format != "csv":  # alone, a value that lost against others for its key would make the column
        names = decoder.schema.names if decoder.schema is not None else list(options.column_types)
        options = options.model_copy(update={"columns": names})
    for index, message in enumerate(messages):
        alone = make_decoder(options, schemas=schemas, state=decoder.state())
        one = alone.decode([message])
        if decoder.schema is not None:
            assert same(rows_of(one).get(0, []), rows.get(index, [])), (message, one, rows.get(index))
        assert bool(one.faults) == (index in done.faults), (message, one.faults, done.faults.get(index))
    return done


def same(one: Any, other: Any) -> bool:
    """Equal, where NaN is equal to NaN."""
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


def check_json(message: bytes, row: dict[str, Any], schema: pa.Schema) -> None:
    """The row is what Python's `json` reads in the message."""
    pairs: list[tuple[str, Any]] = []

    def keep(items: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs[:] = items  # the outermost object comes last
        return dict(items)

    # Python reads integers of a few thousand digits only.
    found = json.loads(
        message.decode("utf-8"), object_pairs_hook=keep, parse_int=lambda text: int(text[:4000]), parse_float=Decimal
    )
    names = [name for name, _ in pairs]
    assert isinstance(found, dict)
    for field in schema:
        assert names.count(field.name) <= 1
        assert fits(found.get(field.name), row[field.name], field.type), (message, field, row)


def fits(value: Any, got: Any, kind: pa.DataType) -> bool:
    """Whether a column of this type may show `got` for the `value` in the JSON."""
    if value is None or got is None:
        return value is None and got is None
    if pa.types.is_timestamp(kind):
        return isinstance(value, str)
    if pa.types.is_list(kind):
        return len(value) == len(got) and all(fits(v, g, kind.value_type) for v, g in zip(value, got, strict=True))
    if pa.types.is_struct(kind):
        return all(fits(value.get(field.name), got[field.name], field.type) for field in kind)
    if pa.types.is_floating(kind):
        if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
            return False
        if math.isinf(got):
            return value == got and isinstance(value, float)  # written so, and not a number that is too large
        return same(float(value), got)
    return type(value) is type(got) and value == got


def check_csv(message: bytes, row: dict[str, Any], schema: pa.Schema) -> None:
    """The row is what Python's `csv` reads in the message."""
    (cells,) = csv.reader(io.StringIO(message.decode("utf-8"), newline=""), strict=True)
    assert len(cells) == len(schema)
    for field, cell in zip(schema, cells, strict=True):
        got = row[field.name]
        if pa.types.is_string(field.type):
            assert got == cell, (message, row)
        elif got is None:
            assert cell in DecoderOptions().csv.null_values, (message, row)
        elif pa.types.is_integer(field.type):
            assert got == int(cell), (message, row)
        elif pa.types.is_floating(field.type):
            assert same(got, float(cell)), (message, row)
