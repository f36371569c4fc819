"""CSV: the header, the types of the columns, and columns from rows."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.csv

from penrose_host.formats.batches import one_batch
from penrose_host.formats.casting import cast_text, other_texts, way_on

if TYPE_CHECKING:
    from penrose_host.errors import SourceError
    from penrose_host.formats.csv_dialect import CsvDialect

__all__ = ["CsvParser", "infer_csv", "split_fields"]


def infer_csv(rows: list[bytes], names: list[str], options: CsvDialect, delimiter: str) -> pa.Schema:
    """The types of the columns, as these rows suggest them: int64, float64, bool, timestamps with a time, or text.

    A column with a value like `01` is text: as a number it would be the same as `1`.
    """
    convert = pyarrow.csv.ConvertOptions(null_values=options.null_values)
    data, parse = b"\n".join(rows) + b"\n", _parse_options(options.quote, delimiter)
    read = _read(data, names, parse, convert)
    whole = [field.name for field in read.schema if pa.types.is_int64(field.type)]
    as_text = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(whole, pa.string()))
    text = _read(data, names, parse, as_text)
    codes = {name for name in whole if other_texts(text.column(name), read.column(name))}
    fields = []
    for field in read.schema:
        kind = pa.string() if field.name in codes else field.type
        if pa.types.is_timestamp(kind):
            # Later rows may have fractions where these have none.
            kind = pa.timestamp("us" if kind.unit == "s" else kind.unit, kind.tz)
        elif not (pa.types.is_int64(kind) or pa.types.is_float64(kind) or pa.types.is_boolean(kind)):
            kind = pa.string()
        fields.append(pa.field(field.name, kind))
    return pa.schema(fields)


class CsvParser:
    """See `Parser`."""

    def __init__(
        self,
        names: list[str],
        schema: pa.Schema,
        options: CsvDialect,
        delimiter: str,
        unrelated: SourceError | None = None,
        declared: Collection[str] = (),
    ) -> None:
        """`names`: the columns of a row; `schema`: those to give; `unrelated`: the error where none of these is there.
        `declared`: columns whose types the job gives; of the others only that text is a number that it prints.

        Who reads knows what to call it: a file's rows and a message's are parsed alike.
        """
        self._unrelated = unrelated
        self._declared = frozenset(declared)
        self._names = names
        self._schema = schema
        self._parse = _parse_options(options.quote, delimiter)
        self._nulls = pa.array(options.null_values, pa.string())
        self._wanted = [name for name in schema.names if name in names]
        self._convert = pyarrow.csv.ConvertOptions(
            include_columns=self._wanted,
            column_types=dict.fromkeys(self._wanted, pa.string()),
            null_values=options.null_values,
            strings_can_be_null=options.text_can_be_null,
        )

    def parse(self, data: bytes) -> tuple[pa.RecordBatch, dict[int, str]]:
        if self._unrelated is not None and not self._wanted:
            raise self._unrelated
        text = _read(data, self._names, self._parse, self._convert)
        faults: dict[int, str] = {}
        columns = []
        for name, kind in zip(self._schema.names, self._schema.types, strict=True):
            if name not in text.schema.names:
                columns.append(pa.nulls(text.num_rows, kind))
                continue
            column = text.column(name)
            if kind != pa.string():
                cells = column
                column, bad = cast_text(cells, kind, self._nulls)
                hint = ""
                if name not in self._declared:
                    bad += other_texts(cells, column)
                    hint = way_on(name, kind)
                for row in bad:
                    faults.setdefault(row, f"column {name!r}: {cells[row].as_py()[:80]!r} is not {kind}{hint}")
            columns.append(column)
        batch = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        if faults:
            batch = batch.take(pa.array(np.setdiff1d(np.arange(batch.num_rows), list(faults))))
        return batch, faults

    def explain(self, row: bytes, error: str) -> str:  # noqa: ARG002 - the error says it all
        return error or "it does not read as one row"


def split_fields(row: bytes, delimiter: str, quote: str | None) -> list[str]:
    """The fields of one row that a framer found right."""
    parse = _parse_options(quote, delimiter)
    places = _read(row + b"\n", None, parse, pyarrow.csv.ConvertOptions()).schema.names
    text = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(places, pa.string()))
    return [column[0].as_py() for column in _read(row + b"\n", places, parse, text).columns]


def _parse_options(quote: str | None, delimiter: str) -> pyarrow.csv.ParseOptions:
    return pyarrow.csv.ParseOptions(delimiter=delimiter, quote_char=quote or False, newlines_in_values=bool(quote))


def _read(
    data: bytes,
    names: list[str] | None,
    parse: pyarrow.csv.ParseOptions,
    convert: pyarrow.csv.ConvertOptions,
) -> pa.RecordBatch:
    """The columns of rows, called `names` (by default by their number). Raises ArrowException."""
    # One block and one thread: decoding runs beside training already.
    how = pyarrow.csv.ReadOptions(
        use_threads=False, block_size=len(data) + 1, column_names=names, autogenerate_column_names=names is None
    )
    return one_batch(
        pyarrow.csv.read_csv(pa.BufferReader(data), read_options=how, parse_options=parse, convert_options=convert)
    )
