"""Options of the `files` datasource. Nothing here reads a file or imports a framework."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from penrose_host.formats.column_options import Columns, ColumnTypes
from penrose_host.formats.csv_dialect import CsvDialect
from penrose_host.options.durations import Duration
from penrose_host.options.section import Section

__all__ = ["Compression", "CsvOptions", "FilesOptions", "Format"]

Format = Literal["parquet", "csv", "jsonl", "arrow"]
Compression = Literal["gz", "bz2", "xz", "zst", "zip", "none"]


def _paths(value: Any) -> Any:
    """One path, or a list of them, as a list of text."""
    if isinstance(value, (str, os.PathLike)):
        value = [value]
    return [os.fspath(path) if isinstance(path, os.PathLike) else path for path in value] if value else value


#: A URL with a password, and its protocol; URLs can be chained, and then it may stand in any of them.
_PASSWORD = re.compile(r"([\w+.-]+)://[^/@]*:[^/@]+@")
_PROTOCOL = re.compile(r"([\w+.-]+)://")
#: What file systems call their secrets.
_SECRET = re.compile(
    r"password|passwd|passphrase|secret|token|credential|authorization|cookie|connection_string|"
    r"(?:account|api|private|shared|access)_?key|^pkey$|^sas",
    re.I,
)
#: Values of such options that are none: ways to find a secret, and files that hold it.
_NO_SECRET = re.compile(r"anon|cloud|cache|browser|google_default|.*\.(?:json|pem)", re.I)


def _secrets(options: dict[str, Any], within: str = "") -> Iterator[str]:
    """Names of options that hold secrets, with those that they are in."""
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _secrets(value, f"{within}{name}.")
        elif isinstance(value, str) and value and _SECRET.search(str(name)) and not _NO_SECRET.fullmatch(value):
            yield f"{within}{name}"


def _instead(protocol: str, option: str, *, as_json: bool = False) -> str:
    """The environment variable that fsspec reads."""
    if as_json:
        return f'set the environment variable FSSPEC_{protocol.upper()} to JSON: {{"{option}": …}}'
    return f"set the environment variable FSSPEC_{protocol.upper()}_{option.upper()}"


class CsvOptions(CsvDialect):
    """How CSV files are written."""

    header: bool | None = Field(
        default=None,
        description="whether the first row of each file holds the column names; null: it does, and with "
        "`column_names` it has to hold one of them",
    )
    column_names: list[str] | None = Field(
        default=None, description="names of the columns, in order; they replace those of a header"
    )

    @field_validator("column_names")
    @classmethod
    def _distinct(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and (not value or len(set(value)) != len(value)):
            raise ValueError("name every column, each once")
        return value


class FilesOptions(Section):
    """Rows from Parquet, CSV, JSON lines or Arrow IPC files. Each file is a partition; they are read in name order."""

    path: Annotated[list[str], BeforeValidator(_paths)] = Field(
        min_length=1,
        description="a file, a glob (`data/**/*.parquet`), a URL that fsspec knows (`s3://…`), or a list of them",
    )
    format: Literal["auto"] | Format = Field(default="auto", description="auto: by each file's suffix")
    compression: Literal["auto"] | Compression = Field(default="auto", description="auto: by each file's suffix")
    columns: Columns = Field(default=None, description="read only these columns; by default all")
    column_types: ColumnTypes = Field(
        default={},
        description="column → type (`int64`, `float64`, `string`, `bool`, `timestamp[us, UTC]`, `list<int64>`, …); "
        "the types of other columns are read off the first rows of the first file, and then fixed",
    )
    csv: CsvOptions = CsvOptions()
    batch_rows: int = Field(default=65_536, ge=1, description="rows decoded at a time from Parquet")
    max_row_bytes: int = Field(
        default=16 << 20, ge=64, le=256 << 20, description="a longer row of a CSV or JSON lines file is a bad row"
    )
    follow: bool = Field(
        default=False,
        description="wait for new files, and for rows that are appended to CSV and JSON lines files: an endless stream",
    )
    poll: Duration = Field(
        default=1_000_000, ge=10_000, le=3_600_000_000, description="with `follow`: how often to look, 10ms to 1h"
    )
    settle: Duration | None = Field(
        default=5_000_000,
        description="with `follow`: a file that can be appended to has ended once there is a later name, and nothing "
        "was written to it for so long; null: never, all such files are watched for ever",
    )
    late_files: Literal["fail", "ignore"] = Field(
        default="fail",
        description="with `follow`: what to do about a new file whose name comes before that of one already ended",
    )
    storage_options: dict[str, Any] = Field(
        default={},
        description="passed on to the fsspec file system of a URL; secrets are refused: fsspec reads them from "
        "environment variables (`FSSPEC_S3_SECRET` for `secret` of `s3://`)",
    )

    @field_validator("path")
    @classmethod
    def _not_empty(cls, value: list[str]) -> list[str]:
        if not all(value):
            raise ValueError("a path is empty")
        for path in value:
            if found := _PASSWORD.search(path):
                raise ValueError(f"a URL holds a password: leave it out, and {_instead(found[1], 'password')}")
        return value

    @field_validator("storage_options")
    @classmethod
    def _no_secrets(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        protocols = [protocol for path in info.data.get("path", ()) for protocol in _PROTOCOL.findall(path)]
        for name in _secrets(value):
            outer, _, inner = name.partition(".")
            if inner and outer in protocols:  # of one URL in a chain
                protocols, outer, inner = [outer], *inner.partition(".")[::2]
            way = _instead(protocols[-1] if protocols else "PROTOCOL", outer, as_json=bool(inner))
            raise ValueError(f"`{name}` is a secret: leave it out, and {way}")
        return value
