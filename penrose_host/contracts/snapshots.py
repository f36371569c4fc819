"""What a checkpoint is made of, as plugins see it: snapshots, the writer they write to, the reader they restore from.

A snapshot is taken on the training thread and only copies in memory, or freezes; its `write` runs behind
training, on another thread. Data is safetensors, Arrow or JSON, never pickle.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from penrose_host.errors import CheckpointDamaged, CheckpointError

__all__ = ["CheckpointReader", "FileRef", "FilesSnapshot", "Snapshot", "SnapshotRef", "SnapshotWriter"]

Buffer: TypeAlias = bytes | bytearray | memoryview

#: Of a directory in a snapshot: the folder of its files, and the file that lists them, as a JSON array.
_DIRECTORY, _LISTING = "directory", "directory.json"


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

    def to_directory(self, directory: Path | str) -> None:
        """Write what `FilesSnapshot.of_directory` took into an empty directory, for a library that loads from a path.

        Raises `CheckpointDamaged` where a file of it is missing or not what was written, or its name leads out of the
        directory; `CheckpointError` for a directory that is not empty or cannot be written to.
        """
        root = Path(directory).resolve()
        try:
            if any(root.iterdir()):
                raise CheckpointError(f"{root} must be empty for a checkpoint to be restored into it", path=root)
            for name in self._listing():
                path = (root / name).resolve()
                if root not in path.parents:
                    raise self._bad_listing(f"{name!r} is not below the directory")
                content = self.read(f"{_DIRECTORY}/{name}")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        except OSError as error:
            raise CheckpointError(f"the checkpoint cannot be restored into {root}: {error}", path=root) from error

    def _listing(self) -> list[str]:
        try:
            names = json.loads(self.read(_LISTING))
        except ValueError as error:
            raise self._bad_listing(str(error)) from error
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self._bad_listing("it is no list of names")
        return names

    def _bad_listing(self, why: str) -> CheckpointDamaged:
        return CheckpointDamaged(
            f"checkpoint {self.ref.checkpoint}, {_LISTING}: {why}",
            hint="resume with the plugin that wrote the checkpoint, or pick another with --resume-from",
        )


class Snapshot(ABC):
    """The state of one part at one instant, on its way to disk."""

    @abstractmethod
    def write(self, writer: SnapshotWriter) -> None:
        """Write it. Runs on a background thread while training goes on; may serialise and compress."""


class FilesSnapshot(Snapshot):
    """A snapshot whose files are already bytes in memory."""

    def __init__(self, files: Mapping[str, Buffer]) -> None:
        self._files = files

    @classmethod
    def of_directory(cls, directory: Path | str) -> FilesSnapshot:
        """What a library saved below a directory, read into memory: the directory may go at once.

        `CheckpointReader.to_directory` is the way back; empty directories are left out. Raises `CheckpointError` where
        no file is there, or something that is neither a file nor a directory.
        """
        root = Path(directory)
        files: dict[str, Buffer] = {}
        try:
            for path in sorted(root.rglob("*")):
                if path.is_symlink() or not (path.is_file() or path.is_dir()):
                    raise CheckpointError(
                        f"{path} cannot be kept: a checkpoint holds files, no links or devices", path=path
                    )
                if path.is_file():
                    files[path.relative_to(root).as_posix()] = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"what was saved in {root} cannot be read: {error}", path=root) from error
        if not files:
            raise CheckpointError(f"no file was saved in {root}", path=root)
        listing = json.dumps(list(files)).encode()
        return cls({_LISTING: listing} | {f"{_DIRECTORY}/{name}": data for name, data in files.items()})

    def write(self, writer: SnapshotWriter) -> None:
        for name, data in self._files.items():
            writer.add(name, data)
