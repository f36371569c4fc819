"""Every row's score, as Parquet parts; cut back to what the checkpoint knows of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penrose_host.errors import CheckpointDamaged, RunDirectoryError
from penrose_host.storage.durable_files import atomic_file, make_folder
from penrose_host.storage.write_errors import write_errors

if TYPE_CHECKING:
    import numpy.typing as npt

    from penrose_host.core.rows import Rows

__all__ = ["Part", "PredictionsFolder"]


#: Rows of a Parquet part; a checkpoint starts a new part as well.
PART_ROWS = 1 << 18


class PredictionsFolder:
    """Parquet parts with every row's `_partition`, `_offset`, `event_time`, `label` and `score` on arrival.

    With several heads the last two are `label_HEAD` and `score_HEAD`. A part appears under its name only
    when it is whole. `parts` is what a checkpoint remembers.
    """

    def __init__(self, folder: Path, heads: tuple[str, ...], parts: int = 0) -> None:
        """Go on behind the first `parts` parts; nothing is changed before `cut`. Raises CheckpointDamaged."""
        self.folder = folder
        self.parts = parts
        self._heads = heads
        self._columns: list[dict[str, npt.NDArray[Any]]] = []
        self._names: tuple[str, ...] = ()
        self._count = 0
        for path in map(self._path, range(parts)):
            if not path.exists():
                raise CheckpointDamaged(
                    f"{path} is gone, though the checkpoint knows of it",
                    path=path,
                    hint="put the file back, pick an older checkpoint with --resume-from, or use another --run-dir",
                )

    def cut(self) -> None:
        """Remove the parts that the checkpoint does not know of, and drafts. Raises RunDirectoryError."""
        known = {self._path(number).name for number in range(self.parts)}
        with write_errors(RunDirectoryError, self.folder):
            make_folder(self.folder)
            for path in self.folder.glob("part-*.parquet*"):
                if path.name not in known:
                    path.unlink()

    def append(self, rows: Rows) -> None:
        """Take scored rows; nothing but the columns that will be written is kept."""
        columns: dict[str, npt.NDArray[Any]] = {
            "_partition": rows.partition,
            "_offset": rows.offset,
            "event_time": rows.event_time,
        }
        for head in self._heads:
            suffix = "" if len(self._heads) == 1 else f"_{head}"
            columns[f"label{suffix}"] = rows.labels[head]
            columns[f"score{suffix}"] = (rows.scores or {})[head]
        self._columns.append(columns)
        self._names = rows.names
        self._count += len(rows)
        if self._count >= PART_ROWS:
            self.write(self.roll())

    def roll(self) -> Part | None:
        """Close the current part; what it holds, to be given to `write` (on any thread)."""
        if not self._columns:
            return None
        part = Part(self._path(self.parts), self._names, self._columns)
        self.parts += 1
        self._columns, self._count = [], 0
        return part

    def write(self, part: Part | None) -> None:
        """Write a part that `roll` closed, durably. Raises RunDirectoryError."""
        if part is None:
            return
        with write_errors(RunDirectoryError, part.path), atomic_file(part.path) as draft:
            part.write(draft)

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one Parquet file, as columns in pieces; partitions are indices into `names`."""

    path: Path
    names: tuple[str, ...]
    pieces: Sequence[Mapping[str, npt.NDArray[Any]]]

    def write(self, path: Path) -> None:
        """Write it there. Raises OSError."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {name: np.concatenate([piece[name] for piece in self.pieces]) for name in self.pieces[0]}
        arrays: dict[str, Any] = {}
        for name, values in columns.items():
            if name == "_partition":
                arrays[name] = pa.DictionaryArray.from_arrays(values, pa.array(self.names)).dictionary_decode()
            elif name == "event_time":
                arrays[name] = pa.array(values).cast(pa.timestamp("us", "UTC"))
            else:  # a label that is not known is NaN here, and null there
                arrays[name] = pa.array(values, from_pandas=name.startswith("label"))
        pq.write_table(pa.table(arrays), path, compression="zstd")
