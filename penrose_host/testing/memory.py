"""Checkpoints in memory: what tests of tables and executors snapshot to and restore from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

from penrose_host.contracts.snapshots import Buffer, CheckpointReader, FileRef, Snapshot, SnapshotRef, SnapshotWriter
from penrose_host.errors import CheckpointDamaged, CheckpointError

__all__ = ["MemoryCheckpoints", "MemoryReader"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


class MemoryCheckpoints:
    """The checkpoints of one part, by id; a file is kept once, in the checkpoint that wrote it.

    As strict as a run's: `CheckpointError` for a name that is none, or stands twice, or is reused and gone.
    """

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], bytes] = {}

    def write(self, checkpoint: str, snapshot: Snapshot) -> SnapshotRef:
        """Write the snapshot; the returned reference is what `committed` and the next `since` take."""
        writer = _MemoryWriter(checkpoint, self.files)
        snapshot.write(writer)
        return SnapshotRef(checkpoint, writer.refs)

    def reader(self, ref: SnapshotRef) -> MemoryReader:
        return MemoryReader(ref, self.files)


class _MemoryWriter(SnapshotWriter):
    def __init__(self, checkpoint: str, files: dict[tuple[str, str], bytes]) -> None:
        self._checkpoint = checkpoint
        self._files = files
        self.refs: dict[str, FileRef] = {}

    def add(self, name: str, data: Buffer | Iterable[Buffer]) -> None:
        whole = bytes(data) if isinstance(data, bytes | bytearray | memoryview) else b"".join(data)
        self._check(name)
        self._files[self._checkpoint, name] = whole
        self.refs[name] = FileRef(self._checkpoint, name, len(whole), hashlib.sha256(whole).hexdigest())

    def reuse(self, name: str, ref: FileRef) -> None:
        self._check(name)
        if (ref.checkpoint, ref.path) not in self._files:
            raise CheckpointError(f"{ref}, which this checkpoint builds on, is gone")
        self.refs[name] = ref

    def _check(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise CheckpointError(f"{name!r} is no name for a file of a checkpoint")
        if name in self.refs:
            raise CheckpointError(f"the file {name!r} was written twice into one checkpoint")


class MemoryReader(CheckpointReader):
    """Verifies length and digest, as the host's own reader does."""

    def __init__(self, ref: SnapshotRef, files: Mapping[tuple[str, str], bytes]) -> None:
        self._ref = ref
        self._files = files

    @property
    def ref(self) -> SnapshotRef:
        return self._ref

    def names(self) -> Sequence[str]:
        return sorted(self._ref.files)

    def read(self, name: str) -> bytes:
        file = self._ref.files.get(name)
        data = None if file is None else self._files.get((file.checkpoint, file.path))
        if file is None or data is None or hashlib.sha256(data).hexdigest() != file.sha256:
            raise CheckpointDamaged(f"{name} is missing or altered")
        return data
