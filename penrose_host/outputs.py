"""A run's own files: they are cut back to the checkpoint, so that each row's effect is in them exactly once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from penrose_host.checkpoints.disk import sync_folder
from penrose_host.errors import CheckpointDamaged, PenroseError

if TYPE_CHECKING:
    import pyarrow as pa

    from penrose_host.rows import Rows

__all__ = ["LinesFile", "PredictionsFolder"]

#: Rows of a Parquet part; a checkpoint starts a new part as well.
PART_ROWS = 1 << 18


class LinesFile:
    """A text file that grows by lines; `length` in bytes is what a checkpoint remembers of it."""

    def __init__(self, path: Path, length: int = 0) -> None:
        """Go on behind the first `length` bytes; what follows them is cut off."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("ab")
        found = self._file.tell()
        if found < length:
            raise CheckpointDamaged(
                f"{path} has {found} bytes, the checkpoint knows of {length}",
                path=path,
                hint="put the file back, pick an older checkpoint with --resume-from, or use another --run-dir",
            )
        self._file.truncate(length)
        self.length = length

    def append(self, line: bytes) -> None:
        """Add a line (without its end), visible to readers at once."""
        self._file.write(line + b"\n")
        self._file.flush()
        self.length += len(line) + 1

    def sync(self) -> None:
        """Make what was appended durable."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """May be called twice."""
        self._file.close()


class PredictionsFolder:
    """Parquet parts with every row's `_partition`, `_offset`, `event_time`, `label` and `score` on arrival.

    With several heads the last two are `label_HEAD` and `score_HEAD`. A part appears under its name only
    when it is whole. `parts` is what a checkpoint remembers.
    """

    def __init__(self, folder: Path, heads: tuple[str, ...], parts: int = 0) -> None:
        """Go on behind the first `parts` parts; later ones, and drafts, are removed."""
        self.folder = folder
        self.parts = parts
        self._heads = heads
        self._rows: list[Rows] = []
        self._count = 0
        self._unsynced: list[Path] = []
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("part-*.parquet*"):
            number = path.name.removeprefix("part-").split(".")[0]
            if path.suffix != ".parquet" or (number.isdigit() and int(number) >= parts):
                path.unlink()
        for number in range(parts):
            if not self._path(number).exists():
                raise CheckpointDamaged(
                    f"{self._path(number)} is gone, though the checkpoint knows of it",
                    path=self._path(number),
                    hint="put the file back, pick an older checkpoint with --resume-from, or use another --run-dir",
                )

    def append(self, rows: Rows) -> None:
        """Take scored rows."""
        self._rows.append(rows)
        self._count += len(rows)
        if self._count >= PART_ROWS:
            self.write(self.roll())

    def roll(self) -> tuple[int, list[Rows]] | None:
        """Close the current part: its number and rows, to be written with `write` (on any thread)."""
        if not self._rows:
            return None
        part = (self.parts, self._rows)
        self.parts += 1
        self._rows, self._count = [], 0
        return part

    def write(self, part: tuple[int, list[Rows]] | None) -> None:
        """Write a part that `roll` closed."""
        if part is None:
            return
        import pyarrow.parquet as pq

        number, rows = part
        path = self._path(number)
        draft = path.with_name(path.name + ".tmp")
        try:
            pq.write_table(self._table(rows), draft, compression="zstd")
            draft.replace(path)
        except OSError as error:
            raise PenroseError(
                f"cannot write predictions to {path}: {error}",
                hint="when this is mended, start the same command again; it resumes from the last checkpoint",
            ) from error
        self._unsynced.append(path)

    def sync(self) -> None:
        """Make every part written so far durable."""
        written, self._unsynced = self._unsynced, []
        for path in written:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        if written:
            sync_folder(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"

    def _table(self, blocks: list[Rows]) -> pa.Table:
        import pyarrow as pa

        return pa.concat_tables([pa.table(self._columns(rows)) for rows in blocks], promote_options="permissive")

    def _columns(self, rows: Rows) -> Mapping[str, Any]:
        import pyarrow as pa

        columns = {
            "_partition": pa.array(np.array(rows.names, dtype=object)[rows.partition], pa.string()),
            "_offset": pa.array(rows.offset),
            "event_time": pa.array(rows.event_time).cast(pa.timestamp("us", "UTC")),
        }
        for head in self._heads:
            suffix = "" if len(self._heads) == 1 else f"_{head}"
            columns[f"label{suffix}"] = pa.array(rows.labels[head], from_pandas=True)
            columns[f"score{suffix}"] = pa.array((rows.scores or {})[head])
        return columns
