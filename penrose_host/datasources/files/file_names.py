"""What a file's name says: its format and its compression."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penrose_host.datasources.files.listing import DataFile
    from penrose_host.datasources.files.options import Compression, FilesOptions, Format

__all__ = ["can_be_appended", "form_of"]

_COMPRESSIONS: dict[str, Compression] = {
    ".gz": "gz",
    ".gzip": "gz",
    ".bz2": "bz2",
    ".xz": "xz",
    ".zst": "zst",
    ".zstd": "zst",
    ".zip": "zip",
}
_FORMATS: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}


def form_of(file: DataFile, options: FilesOptions) -> tuple[Format, Compression, str]:
    """Format, compression and, for CSV, the delimiter of a file. Raises SourceError where its name does not tell."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(file.path).suffixes]
    compression: Compression = "none"
    if suffixes and suffixes[-1] in _COMPRESSIONS:
        compression = _COMPRESSIONS[suffixes.pop()]
    if options.compression != "auto":
        compression = options.compression
    suffix = suffixes[-1] if suffixes else ""
    if options.format != "auto":
        form = options.format
    elif suffix in _FORMATS:
        form = _FORMATS[suffix]
    else:
        raise file.error(
            f"the name of {file.path} does not tell its format",
            "set the option `format` to parquet, csv, jsonl or arrow, or narrow `path`",
        )
    if form == "parquet" and compression != "none":
        raise file.error(
            f"{file.path} is a compressed Parquet file, which cannot be read in pieces",
            "unpack it: Parquet compresses its columns itself",
        )
    return form, compression, options.csv.delimiter or ("\t" if suffix == ".tsv" else ",")


def can_be_appended(file: DataFile, options: FilesOptions) -> bool:
    """Whether rows may be appended to the file: it is text, as it is. Raises SourceError as `form_of` does."""
    form, compression, _ = form_of(file, options)
    return form in ("csv", "jsonl") and compression == "none"
