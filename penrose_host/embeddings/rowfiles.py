"""How a table lies in a checkpoint: a base file of rows, then files of rows that changed since.

`rows-0000.safetensors` is the base; each later number overrides rows of the earlier ones. Every file holds
`index` int32 [n], ascending, and float32 [n, …] arrays, and says in its metadata which table it belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from penrose_host.contracts.snapshots import FileRef, Snapshot, SnapshotWriter
from penrose_host.embeddings.tensorfile import Array, decode, encode
from penrose_host.errors import CheckpointDamaged

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Float32, Int32
    from penrose_host.contracts.snapshots import CheckpointReader, SnapshotRef

__all__ = ["RowFile", "RowsSnapshot", "plan", "read_rows"]

#: A chain longer than this is written anew: restoring reads it all, and retention keeps every checkpoint it lies in.
_MAX_FILES = 32


@dataclass(frozen=True, slots=True)
class RowFile:
    """Rows on their way to disk or back: the arrays at the rows `index`, and what the file says about them."""

    index: Int32
    arrays: Mapping[str, Float32]
    identity: Mapping[str, Any]
    counters: Mapping[str, int]

    @property
    def tensors(self) -> dict[str, Array]:
        return {"index": self.index, **self.arrays}

    @property
    def metadata(self) -> dict[str, str]:
        return {
            "table": json.dumps(self.identity, sort_keys=True),
            "counters": json.dumps(self.counters, sort_keys=True),
        }


class RowsSnapshot(Snapshot):
    """Files of an earlier checkpoint that still hold, and at most one new file after them."""

    def __init__(self, reused: Sequence[FileRef], added: RowFile | None) -> None:
        self._reused = tuple(reused)
        self._added = added

    def write(self, writer: SnapshotWriter) -> None:
        for number, ref in enumerate(self._reused):
            writer.reuse(_name(number), ref)
        if self._added is not None:
            writer.add(_name(len(self._reused)), encode(self._added.tensors, self._added.metadata))


def plan(since: SnapshotRef | None, changed_bytes: int) -> tuple[FileRef, ...] | None:
    """The files that the changes since `since` can follow, or None where all rows had better be written anew.

    That is so without an earlier snapshot, and when the changes would grow past half of the base.
    """
    if since is None or not since.files or len(since.files) >= _MAX_FILES:
        return None
    base, *deltas = (since.files[name] for name in sorted(since.files))
    grown = sum(ref.bytes for ref in deltas) + changed_bytes
    return None if grown > base.bytes / 2 else (base, *deltas)


def read_rows(reader: CheckpointReader, identity: Mapping[str, Any], shapes: Mapping[str, int]) -> Iterator[RowFile]:
    """The files of a table in order; `shapes`: array → columns. `identity` must be that of the table restored.

    Raises `CheckpointDamaged`, naming the file, for whatever does not fit.
    """
    names = sorted(reader.names())
    if not names or names != [_name(number) for number in range(len(names))]:
        raise CheckpointDamaged(f"checkpoint {reader.ref.checkpoint}: not the files of a hashing table: {names}")
    for name in names:
        try:
            yield _parse(reader.read(name), identity, shapes)
        except ValueError as error:
            raise CheckpointDamaged(
                f"checkpoint {reader.ref.checkpoint}, file {name}: {error}",
                hint="resume with the job that wrote the checkpoint, or pick another with --resume-from",
            ) from error


def _parse(data: bytes, identity: Mapping[str, Any], shapes: Mapping[str, int]) -> RowFile:
    tensors, metadata = decode(data)
    try:
        written = json.loads(metadata["table"])
        counters = {str(name): int(count) for name, count in json.loads(metadata["counters"]).items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"the metadata cannot be read: {error!r}") from None
    if written != identity:
        raise ValueError(f"it was written by the table {written}, not by {dict(identity)}")
    index = tensors.pop("index", None)
    if index is None or index.dtype != np.int32 or index.ndim != 1:
        raise ValueError("there is no index of rows")
    if len(index) and (index[0] < 0 or index[-1] >= identity["rows"] or bool((np.diff(index) <= 0).any())):
        raise ValueError("the index of rows is not ascending, or leaves the table")
    found = {array: (values.dtype.str, values.shape) for array, values in tensors.items()}
    expected = {array: ("<f4", (len(index), columns)) for array, columns in shapes.items()}
    if found != expected:
        raise ValueError(f"it holds {found}, not {expected}")
    return RowFile(index, tensors, identity, counters)


def _name(number: int) -> str:
    return f"rows-{number:04d}.safetensors"
