"""Avro: a message is one record, written with a schema that is known by its id."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from penrose_host.decoding.avro.schemas import NO_ID
from penrose_host.decoding.avro.types import WriterField, compile_schema
from penrose_host.decoding.columns import Columns
from penrose_host.decoding.conforming import conform
from penrose_host.decoding.decoder import Decoder, Rows
from penrose_host.decoding.framing import Payloads
from penrose_host.decoding.options import DecoderOptions
from penrose_host.formats.promotion import promotes

__all__ = ["AvroDecoder"]


class AvroDecoder(Decoder):
    """Fields are columns. Fields that a later schema adds become columns; nested ones are passed over."""

    def __init__(self, options: DecoderOptions, columns: Columns, schemas: Callable[[int], str]) -> None:
        super().__init__(options, columns)
        self._schemas = schemas
        self._writers: dict[int, list[WriterField] | str] = {}

    def _learn(self, payloads: Payloads) -> None:
        self._decode(payloads)

    def _decode(self, payloads: Payloads) -> Rows:
        ids = np.array(payloads.ids or [NO_ID] * len(payloads.data), dtype=np.int64)
        faults: dict[int, str] = {}
        read: list[tuple[list[WriterField], list[int], list[list[Any]]]] = []
        for number in dict.fromkeys(ids.tolist()):
            indices = np.flatnonzero(ids == number).tolist()
            fields = self._writer(number)
            if isinstance(fields, str):
                faults |= dict.fromkeys(indices, fields)
                continue
            good, rows = _read(fields, indices, payloads.data, faults)
            if good:
                self._columns.add(
                    pa.field(f.name, f.kind) for f in fields if f.kind is not None and not pa.types.is_null(f.kind)
                )
                read.append((fields, good, rows))
        schema = self._columns.current
        batches, order = [], []
        for fields, good, rows in read:
            batch, kept = self._columns_of(fields, good, rows, schema, faults)
            batches.append(batch)
            order.append(kept)
        if len(batches) == 1:
            return Rows(batches[0], faults)
        if not batches:
            return Rows(pa.RecordBatch.from_pylist([], schema=schema), faults)
        joined = pa.concat_batches(batches)
        return Rows(joined.take(pa.array(np.argsort(np.concatenate(order)))), faults)

    def _writer(self, number: int) -> list[WriterField] | str:
        """The fields of the schema with this id, or what is wrong with it."""
        if number not in self._writers:
            try:
                text = self._schemas(number)
            except KeyError:
                return f"the schema {number} is not known"  # it may be, later
            try:
                self._writers[number] = compile_schema(text)
            except ValueError as error:
                name = "of the message" if number == NO_ID else str(number)
                self._writers[number] = f"the schema {name} cannot be read with: {error}"
        return self._writers[number]

    def _columns_of(
        self,
        fields: Sequence[WriterField],
        indices: list[int],
        rows: list[list[Any]],
        schema: pa.Schema,
        faults: dict[int, str],
    ) -> tuple[pa.RecordBatch, list[int]]:
        """The columns of rows that one writer wrote, and which payloads have no fault."""
        cells = {field.name: (field, column) for field, column in zip(fields, zip(*rows, strict=True), strict=True)}
        arrays = []
        bad: dict[int, str] = {}
        for target in schema:
            if target.name not in cells:
                arrays.append(pa.nulls(len(rows), target.type))
                continue
            field, column = cells[target.name]
            if target.name not in self._options.column_types and not promotes(field.kind, target.type):
                fault = f"column {target.name!r} is {target.type}, and the message has {field.kind or 'a union'} there"
                faults |= dict.fromkeys(indices, fault)
                return pa.RecordBatch.from_pylist([], schema=schema), []
            array, wrong = _converted(column, field.kind, target.type)
            arrays.append(array)
            for row, reason in wrong.items():
                bad.setdefault(row, f"column {target.name!r}: {reason}")
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema) if arrays else _rows_without_columns(len(rows))
        if not bad:
            return batch, indices
        faults |= {indices[row]: reason for row, reason in bad.items()}
        kept = np.delete(np.arange(len(rows)), list(bad))
        return batch.take(pa.array(kept)), [indices[row] for row in kept]


def _read(
    fields: Sequence[WriterField], indices: Sequence[int], messages: Sequence[bytes], faults: dict[int, str]
) -> tuple[list[int], list[list[Any]]]:
    """The values of each message that is one whole record, and its index."""
    readers = [field.read for field in fields]
    good: list[int] = []
    rows: list[list[Any]] = []
    for index in indices:
        message = messages[index]
        at = 0
        row = []
        try:
            for read in readers:
                value, at = read(message, at)
                row.append(value)
        except IndexError:
            faults[index] = f"the message ends within field {fields[len(row)].name!r}"
            continue
        except (ValueError, struct.error) as error:
            faults[index] = f"field {fields[len(row)].name!r}: {error}"
            continue
        if at != len(message):
            faults[index] = f"the record ends after {at} of {len(message)} bytes"
            continue
        good.append(index)
        rows.append(row)
    return good, rows


def _converted(column: Sequence[Any], have: Any, want: pa.DataType) -> tuple[pa.Array, dict[int, str]]:
    """The values as a column, null where one does not fit, and why."""
    bad: dict[int, str] = {}

    def attempt(start: int, stop: int) -> list[pa.Array]:
        try:
            return [conform(pa.array(column[start:stop], have), want)]
        except (pa.ArrowException, ValueError, OverflowError) as error:
            if stop - start == 1:
                bad[start] = str(error)
                return [pa.nulls(1, want)]
            middle = (start + stop) // 2
            return attempt(start, middle) + attempt(middle, stop)

    return pa.concat_arrays(attempt(0, len(column))), bad


def _rows_without_columns(count: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_struct_array(pa.array([{}] * count, pa.struct([])))
