"""The header of a CSV file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penrose_host.datasources.files.byte_stream import BLOCK_BYTES
from penrose_host.datasources.files.shapes import other_shape
from penrose_host.formats.csv_frames import CsvFramer
from penrose_host.formats.csv_text import split_fields

if TYPE_CHECKING:
    from penrose_host.datasources.files.byte_stream import ByteStream
    from penrose_host.datasources.files.listing import DataFile
    from penrose_host.datasources.files.options import CsvOptions
    from penrose_host.errors import SourceError

__all__ = ["read_header"]


def read_header(
    file: DataFile, source: ByteStream, options: CsvOptions, delimiter: str, max_row_bytes: int, *, grows: bool = False
) -> tuple[list[str], bytes] | None:
    """The names of the columns (none where the file has no rows), and what was read behind the header.

    None where the file `grows` and its first row is not complete yet. Raises SourceError where the first row is no
    header, or where reading fails.
    """
    framer = CsvFramer(delimiter, options.quote, None, max_row_bytes)
    data, final = b"", False
    while True:
        spans, done = framer.scan(data, final=final, rows=1)
        if spans or final:
            break
        if len(data) > max_row_bytes:
            raise other_shape(file, data, "csv") or _header_error(
                file, f"the first row is longer than `max_row_bytes` ({max_row_bytes}) allows"
            )
        more = source.read(max(BLOCK_BYTES, len(data)))
        if not more:
            source.check(0)
            if grows:
                return None
            final = True
            more = b"" if data.endswith(b"\n") or not data else b"\n"
        data += more
    if not spans:
        return [], b""
    if spans[0].fault:
        raise other_shape(file, data, "csv") or _header_error(file, spans[0].fault)
    names = split_fields(data[spans[0].start : spans[0].stop], delimiter, options.quote)
    if options.column_names is not None:
        if len(options.column_names) != len(names):
            given = len(options.column_names)
            raise _header_error(file, f"its first row has {len(names)} fields, and `column_names` names {given}")
        if options.header is None and not _plain(names) & _plain(options.column_names):
            raise file.error(
                f"{file.path}: the first row holds none of `column_names`, but {', '.join(map(repr, names))[:200]}: "
                "is it a header or a row?",
                "if it is a row, set `csv: {header: false}`; if it is a header to be replaced, `csv: {header: true}`",
                offset=0,
            )
        names = options.column_names
    elif options.header is False:
        names = [f"f{index}" for index in range(len(names))]
    if len(set(names)) != len(names):
        raise _header_error(file, f"two columns are called {max(names, key=names.count)!r}")
    return names, data if options.header is False else data[done:]


def _plain(names: list[str]) -> set[str]:
    """Names as people compare them."""
    return {name.strip().casefold() for name in names}


def _header_error(file: DataFile, fault: str) -> SourceError:
    return file.error(
        f"{file.path} does not start with a header: {fault}",
        "for a file without one set `csv: {header: false}`, and `column_names` there; "
        "check `delimiter` and `quote` too",
    )
