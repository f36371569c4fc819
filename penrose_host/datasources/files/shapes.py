"""What a file is that no row can be read from: often a shape that other tools write, and no reader here expects."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penrose_host.datasources.files.listing import DataFile
    from penrose_host.errors import SourceError

__all__ = ["PEEK_BYTES", "other_shape"]

#: The shape shows in so many first bytes.
PEEK_BYTES = 4096
#: First bytes → what such a file is, and the option to set.
_MAGIC = {
    b"PAR1": ("a Parquet file", "`format: parquet`"),
    b"ARROW1": ("an Arrow file", "`format: arrow`"),
    b"\x1f\x8b": ("compressed by gzip", "`compression: gz`"),
    b"BZh": ("compressed by bzip2", "`compression: bz2`"),
    b"\xfd7zXZ": ("compressed by xz", "`compression: xz`"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "`compression: zst`"),
    b"PK\x03\x04": ("a zip archive", "`compression: zip`"),
}
_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def other_shape(file: DataFile, data: bytes, form: str) -> SourceError | None:
    """The error that says what a text file really is, by its first bytes; None where they do not tell.

    `form`: what its rows are taken for, csv or jsonl.
    """
    for magic, (what, option) in _MAGIC.items():
        if data.startswith(magic):
            return file.error(f"{file.path} is {what}, and is read as plain text", f"set the option {option}")
    if data.startswith(_MARKS) or _every_second_is_zero(data[:64]):
        return file.error(
            f"{file.path} is text in UTF-16, and rows are read as UTF-8",
            f"write it anew: iconv -f UTF-16 -t UTF-8 {file.name} > NEW_FILE",
        )
    if form != "jsonl":
        return None
    start = data.removeprefix(codecs.BOM_UTF8).lstrip()
    if re.match(rb"\[\s*[\[{]", start):
        return file.error(
            f"{file.path} is one JSON array, and rows are JSON objects, one a line",
            f"write it anew: jq -c '.[]' {file.name} > NEW_FILE",
        )
    if re.match(rb"\{[ \t]*\r?\n", start):
        return file.error(
            f"{file.path} holds JSON objects over several lines, and rows are JSON objects, one a line",
            f"write it anew: jq -c . {file.name} > NEW_FILE",
        )
    return None


def _every_second_is_zero(data: bytes) -> bool:
    """As in Latin text in UTF-16, and in no row of UTF-8."""
    even, odd = data[::2], data[1::2]
    return len(data) > 3 and any(not any(one) and all(other) for one, other in ((even, odd), (odd, even)))
