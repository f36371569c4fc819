"""CSV: the header, the types of the columns, and columns from rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv

from penrose_host.datasources.csv_frames import CsvFramer
from penrose_host.datasources.parts import one_batch
from penrose_host.datasources.text import BLOCK_BYTES
from penrose_host.errors import SourceError

if TYPE_CHECKING:
    from penrose_host.datasources.file_options import CsvOptions
    from penrose_host.datasources.inputs import Input
    from penrose_host.datasources.listing import DataFile

__all__ = ["CsvParser", "infer_csv", "read_header"]

_COLUMN = re.compile(r"In CSV column #(\d+): (?:Row #\d+: )?(?:CSV conversion error to )?")


def read_header(
    file: DataFile, source: Input, options: CsvOptions, delimiter: str, max_row_bytes: int
) -> tuple[list[str], bytes]:
    """The names of the columns (none where the file has no rows), and what was read behind the header.

    Raises SourceError where the first row is no header, or where reading fails.
    """
    framer = CsvFramer(delimiter, options.quote, None, max_row_bytes)
    data, final = b"", False
    while True:
        spans, done = framer.scan(data, final=final, rows=1)
        if spans or final:
            break
        if len(data) > max_row_bytes:
            raise _header_error(file, f"the first row is longer than `max_row_bytes` ({max_row_bytes}) allows")
        more = source.read(max(BLOCK_BYTES, len(data)))
        if not more:
            source.check(0)
            final = True
            more = b"" if data.endswith(b"\n") or not data else b"\n"
        data += more
    if not spans:
        return [], b""
    if spans[0].fault:
        raise _header_error(file, spans[0].fault)
    names = _split(data[spans[0].start : spans[0].stop], delimiter, options.quote)
    if options.column_names is not None:
        if len(options.column_names) != len(names):
            raise _header_error(file, f"it has {len(names)} columns, but `column_names` names another number")
        names = options.column_names
    elif not options.header:
        names = [f"f{index}" for index in range(len(names))]
    if len(set(names)) != len(names):
        raise _header_error(file, f"two columns are called {max(names, key=names.count)!r}")
    return names, data[done:] if options.header else data


def infer_csv(rows: list[bytes], names: list[str], options: CsvOptions, delimiter: str) -> pa.Schema:
    """The types of the columns, as these rows suggest them: int64, float64, bool, timestamps with a time, or text."""
    parser = CsvParser(names, None, options, delimiter)
    fields = []
    for field in parser.parse(b"\n".join(rows) + b"\n").schema:
        kind = field.type
        if pa.types.is_timestamp(kind):
            # Later rows may have fractions where these have none.
            kind = pa.timestamp("us" if kind.unit == "s" else kind.unit, kind.tz)
        elif not (pa.types.is_int64(kind) or pa.types.is_float64(kind) or pa.types.is_boolean(kind)):
            kind = pa.string()
        fields.append(pa.field(field.name, kind))
    return pa.schema(fields)


class CsvParser:
    """See `Parser`."""

    def __init__(self, names: list[str], schema: pa.Schema | None, options: CsvOptions, delimiter: str) -> None:
        """`names`: the columns of the file. `schema`: the columns to give; None: all, with types by their values."""
        self._names = names
        self._schema = schema
        self._parse = pyarrow.csv.ParseOptions(
            delimiter=delimiter,
            quote_char=options.quote or False,
            newlines_in_values=options.quote is not None,
        )
        wanted = {"include_columns": schema.names, "include_missing_columns": True} if schema is not None else {}
        self._convert = pyarrow.csv.ConvertOptions(
            column_types=schema,
            null_values=options.null_values,
            strings_can_be_null=options.text_can_be_null,
            **wanted,
        )

    def parse(self, data: bytes) -> pa.RecordBatch:
        if not data and self._schema is not None:
            return pa.RecordBatch.from_pylist([], schema=self._schema)
        # One block and one thread: decoding runs beside training already.
        read = pyarrow.csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=self._names)
        return one_batch(
            pyarrow.csv.read_csv(
                pa.BufferReader(data), read_options=read, parse_options=self._parse, convert_options=self._convert
            )
        )

    def explain(self, row: bytes, error: str) -> str:  # noqa: ARG002 - the error says it all
        if match := _COLUMN.match(error):
            return f"column {self._names[int(match[1])]!r}: not {error[match.end() :]}"
        return error or "it does not read as one row"


def _split(row: bytes, delimiter: str, quote: str | None) -> list[str]:
    """The fields of one row that a framer found right."""
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, quote_char=quote or False, newlines_in_values=True)

    def read(names: list[str] | None) -> pa.Table:
        size = len(row) + 2
        how = pyarrow.csv.ReadOptions(
            use_threads=False, block_size=size, column_names=names, autogenerate_column_names=names is None
        )
        text = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names or (), pa.string()))
        return pyarrow.csv.read_csv(
            pa.BufferReader(row + b"\n"), read_options=how, parse_options=parse, convert_options=text
        )

    places = read(None).column_names
    return [column[0].as_py() for column in read(places).columns]


def _header_error(file: DataFile, fault: str) -> SourceError:
    return SourceError(
        f"{file.path} does not start with a header: {fault}",
        plugin="files",
        partition=file.name,
        hint="for a file without one set `csv: {header: false}`, and `column_names` there; "
        "check `delimiter` and `quote` too",
    )
