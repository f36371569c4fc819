"""What a checkpoint is made of, as plugins see it: snapshots, the writer they write to, the reader they restore from.

A snapshot is taken on the training thread and only copies in memory, or freezes; its `write` runs behind
training, on another thread. Data is safetensors, Arrow or JSON, never pickle.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["CheckpointReader", "FileRef", "FilesSnapshot", "Snapshot", "SnapshotRef", "SnapshotWriter"]

Buffer: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class FileRef:
    """One durable file: the checkpoint that holds it, its path in there, its length in bytes, its digest."""

    checkpoint: str
    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SnapshotRef:
    """A committed snapshot of one part (a table, an executor): the checkpoint's id, and name → file."""

    checkpoint: str
    files: Mapping[str, FileRef] = field(default_factory=dict)


class SnapshotWriter(ABC):
    """Where a snapshot writes its files. Names are relative paths of letters, digits, `.`, `_`, `-` and `/`."""

    @abstractmethod
    def add(self, name: str, data: Buffer | Iterable[Buffer]) -> None:
        """A new file. Raises `CheckpointError` where it cannot be written (disk full)."""

    @abstractmethod
    def reuse(self, name: str, ref: FileRef) -> None:
        """A file that an earlier checkpoint already holds, under this name in the new one."""


class CheckpointReader(ABC):
    """The files of one part of a checkpoint; every byte is verified before it is handed out."""

    @property
    @abstractmethod
    def ref(self) -> SnapshotRef:
        """What `since` will be for the next snapshot of this part."""

    @abstractmethod
    def names(self) -> Sequence[str]:
        """The names of the files, sorted."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The content. Raises `CheckpointDamaged`, naming the file, where it is not what was written."""


class Snapshot(ABC):
    """The state of one part at one instant, on its way to disk."""

    @abstractmethod
    def write(self, writer: SnapshotWriter) -> None:
        """Write it. Runs on a background thread while training goes on; may serialise and compress."""


class FilesSnapshot(Snapshot):
    """A snapshot whose files are already bytes in memory."""

    def __init__(self, files: Mapping[str, Buffer]) -> None:
        self._files = files

    def write(self, writer: SnapshotWriter) -> None:
        for name, data in self._files.items():
            writer.add(name, data)
