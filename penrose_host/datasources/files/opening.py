"""From a file to a reader of its rows, and to the types of its columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa

from penrose_host.contracts.batch import OFFSET, PARTITION
from penrose_host.datasources.files.byte_stream import ByteStream
from penrose_host.datasources.files.columnar import ArrowFile, ColumnarFile, ColumnarReader, ParquetFile
from penrose_host.datasources.files.csv_header import read_header
from penrose_host.datasources.files.file_names import form_of
from penrose_host.datasources.files.shapes import PEEK_BYTES, other_shape
from penrose_host.datasources.files.slices import FileReader, none_of_the_columns
from penrose_host.datasources.files.text_reader import TextReader
from penrose_host.formats.csv_frames import CsvFramer
from penrose_host.formats.csv_text import CsvParser, infer_csv
from penrose_host.formats.json_lines import JsonFramer, JsonParser, infer_json
from penrose_host.formats.text import Framer, Parser
from penrose_host.formats.type_names import parse_type

if TYPE_CHECKING:
    from penrose_host.datasources.files.listing import DataFile
    from penrose_host.datasources.files.options import FilesOptions

__all__ = ["fix_schema", "infer_schema", "open_reader"]


def open_reader(
    file: DataFile,
    handle: pa.NativeFile,
    options: FilesOptions,
    schema: pa.Schema,
    origin: str,
    *,
    grows: bool = False,
) -> FileReader | None:
    """A reader of the rows of an open file, with these columns. Raises SourceError where it is not of its format.

    `origin`: which file the columns are those of. None where the file is text that `grows`, and cannot be read yet: its
    header is not complete.
    """
    if form_of(file, options)[0] in ("parquet", "arrow"):
        source = _columnar(file, handle, options)
        return ColumnarReader(file, handle, source, schema, origin, options.column_types)
    if (text := _text(file, handle, options, grows)) is None:
        return None
    reader, _, parser = text
    reader.parse_with(parser(schema), schema)
    return reader


def infer_schema(
    file: DataFile, handle: pa.NativeFile, options: FilesOptions, *, grows: bool = False
) -> pa.Schema | None:
    """The columns of a file with the types it declares or its first rows suggest; None where it has no rows (yet)."""
    form, _, _ = form_of(file, options)
    if form in ("parquet", "arrow"):
        return _columnar(file, handle, options).schema
    if (text := _text(file, handle, options, grows)) is None:
        return None
    reader, infer, _ = text
    if rows := reader.sample():
        return infer(rows)
    if not grows and (error := other_shape(file, _first_bytes(file, options), form)) is not None:
        raise error
    return None


def fix_schema(file: DataFile, inferred: pa.Schema, options: FilesOptions) -> pa.Schema:
    """The columns to read, by the options and by what was inferred from `file`. Raises SourceError."""
    names = inferred.names
    if len(set(names)) != len(names):
        twice = max(names, key=names.count)
        raise file.error(f"{file.path} has two columns called {twice!r}", "give each column a name of its own")
    types = {field.name: field.type for field in inferred}
    # A key that the first rows of a JSON lines file lack may come later.
    may_add = form_of(file, options)[0] == "jsonl"
    has = f"{file.path} has the columns {', '.join(names)}"
    for name, type_name in options.column_types.items():
        if name not in types and not may_add:
            raise file.error(f"there is no column {name!r}: {has}", "correct the option `column_types`")
        types[name] = parse_type(type_name)
    for name in options.columns or ():
        if name not in types:
            hint = f"correct the option `columns`{', or give its type in `column_types`' if may_add else ''}"
            raise file.error(f"there is no column {name!r}: {has}", hint)
    schema = pa.schema([pa.field(name, types[name]) for name in options.columns or types])
    if not schema.names:
        raise file.error(f"{file.path} has no columns", "check the options `path` and `format`")
    if reserved := {PARTITION, OFFSET} & set(schema.names):
        raise file.error(
            f"{file.path} has a column {min(reserved)!r}, which is the name of a row's own place in the stream",
            "rename it, or leave it out with the option `columns`",
        )
    return schema


def _first_bytes(file: DataFile, options: FilesOptions) -> bytes:
    """Unpacked."""
    with file.open() as handle:
        return ByteStream(file, handle, form_of(file, options)[1]).read(PEEK_BYTES)


def _columnar(file: DataFile, handle: pa.NativeFile, options: FilesOptions) -> ColumnarFile:
    form, compression, _ = form_of(file, options)
    try:
        if form == "parquet":
            return ParquetFile(file, handle, options.batch_rows)
        return ArrowFile(handle, compression)
    except Exception as error:  # Arrow's errors, a decompressor's, or those of a remote file system
        raise file.error(
            f"{file.path} is not a complete {'Parquet' if form == 'parquet' else 'Arrow IPC'} file: {error}",
            "replace the file, or set the option `format` to what it is",
        ) from error


def _text(
    file: DataFile, handle: pa.NativeFile, options: FilesOptions, grows: bool
) -> tuple[TextReader, Callable[[list[bytes]], pa.Schema], Callable[[pa.Schema], Parser]] | None:
    """A reader that still needs a parser; what suggests the types of columns; and what makes the parser.

    None where the file `grows` and its header is not complete.
    """
    form, compression, delimiter = form_of(file, options)
    source = ByteStream(file, handle, compression)
    limit = options.max_row_bytes

    def json_parser(schema: pa.Schema) -> Parser:
        return JsonParser(schema, declared=options.column_types)

    if form == "jsonl":
        return TextReader(file, source, JsonFramer(limit), b"", limit, grows=grows), infer_json, json_parser
    header = read_header(file, source, options.csv, delimiter, limit, grows=grows)
    if header is None:
        return None
    names, rest = header

    def infer(rows: list[bytes]) -> pa.Schema:
        return infer_csv(rows, names, options.csv, delimiter)

    def parser(schema: pa.Schema) -> Parser:
        for field in schema:
            if field.name in names and pa.types.is_nested(field.type):
                raise file.error(
                    f"column {field.name!r} is {field.type}, which {file.path}, a CSV file, cannot hold",
                    "read it as `string`, or keep such data as JSON lines or Parquet",
                )
        unrelated = none_of_the_columns(file, schema)
        return CsvParser(names, schema, options.csv, delimiter, unrelated, options.column_types)

    framer: Framer = CsvFramer(delimiter, options.csv.quote, len(names) or None, limit)
    return TextReader(file, source, framer, rest, limit, grows=grows), infer, parser
