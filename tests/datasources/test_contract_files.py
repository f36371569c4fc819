"""The datasource `files` keeps the promises of datasources, in every format, followed or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from penrose_host.datasources.files.source import FilesSource
from penrose_host.testing import DataSourceContract


class FilesContract(DataSourceContract):
    """Three files, of 40, 0 and 25 rows."""

    suffix: ClassVar[str]
    following: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def files(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "data"
        self.folder.mkdir()
        for number, rows in enumerate((40, 0, 25)):
            self.write(self.folder / f"part-{number}{self.suffix}", table(rows, number))

    def make(self) -> FilesSource:
        return FilesSource(FilesSource.Options(path=[f"{self.folder}/*{self.suffix}"], batch_rows=7, **self.following))

    def change(self, partition: str) -> None:
        self.write(self.folder / partition, table(40, 99))

    def write(self, path: Path, rows: pa.Table) -> None:
        raise NotImplementedError


def table(rows: int, seed: int) -> pa.Table:
    return pa.table(
        {
            "user": [f"u{(row * 7 + seed) % 11}" for row in range(rows)],
            "price": pa.array([row * 0.5 + seed for row in range(rows)], pa.float64()),
        },
        schema=pa.schema([("user", pa.string()), ("price", pa.float64())]),
    )


class TestParquet(FilesContract):
    suffix = ".parquet"

    def write(self, path: Path, rows: pa.Table) -> None:
        pyarrow.parquet.write_table(rows, path, row_group_size=16)


class TestArrow(FilesContract):
    suffix = ".arrow"

    def write(self, path: Path, rows: pa.Table) -> None:
        pyarrow.feather.write_feather(rows, path, chunksize=9, compression="uncompressed")


class TestCsv(FilesContract):
    suffix = ".csv"

    def write(self, path: Path, rows: pa.Table) -> None:
        pyarrow.csv.write_csv(rows, path)


class TestCompressedCsv(FilesContract):
    suffix = ".csv.gz"

    def write(self, path: Path, rows: pa.Table) -> None:
        with pa.CompressedOutputStream(path, "gzip") as stream:
            pyarrow.csv.write_csv(rows, stream)


class TestJsonLinesWithBadRows(FilesContract):
    suffix = ".jsonl"

    def write(self, path: Path, rows: pa.Table) -> None:
        lines = [json.dumps(row) for row in rows.to_pylist()]
        path.write_text("".join("{oops\n" if number % 9 == 4 else f"{line}\n" for number, line in enumerate(lines)))


class Followed:
    """The same files as an endless stream: all but the last end by themselves, the text among them once at rest."""

    following: ClassVar[dict[str, Any]] = {"follow": True, "poll": "10ms", "settle": "20ms"}
    patience: ClassVar[float] = 0.3


class TestFollowedParquet(Followed, TestParquet):
    """Each file has ended when it was read."""


class TestFollowedCsv(Followed, TestCsv):
    """The last file may go on growing."""


class TestFollowedJsonLines(Followed, TestJsonLinesWithBadRows):
    """The last file may go on growing; some rows are bad."""
