"""A text file that grows by lines, and is cut back to what the checkpoint knows of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from penrose_host.errors import CheckpointDamaged, RunDirectoryError
from penrose_host.storage.durable_files import sync_folder
from penrose_host.storage.write_errors import write_errors

if TYPE_CHECKING:
    from io import FileIO

__all__ = ["LinesFile"]


class LinesFile:
    """A text file that grows by lines; `length` in bytes is what a checkpoint remembers of it."""

    def __init__(self, path: Path, length: int = 0) -> None:
        """Go on behind the first `length` bytes; nothing is changed before `cut`. Raises CheckpointDamaged."""
        self.path = path
        self.length = length
        self._file: FileIO | None = None
        with write_errors(RunDirectoryError, path):
            found = path.stat().st_size if path.exists() else 0
        if found < length:
            raise CheckpointDamaged(
                f"{path} has {found} bytes, the checkpoint knows of {length}",
                path=path,
                hint="put the file back, pick an older checkpoint with --resume-from, or use another --run-dir",
            )

    def cut(self) -> None:
        """Cut off what the checkpoint does not know of; from now on lines can be added. Raises RunDirectoryError."""
        with write_errors(RunDirectoryError, self.path):
            self._file = self.path.open("ab", buffering=0)
            os.ftruncate(self._file.fileno(), self.length)
            sync_folder(self.path.parent)

    def append(self, line: bytes) -> None:
        """Add a line (without its end), visible to readers at once. Raises RunDirectoryError."""
        self.write(line + b"\n")

    def write(self, lines: bytes) -> None:
        """Add whole lines, likewise."""
        assert self._file is not None
        rest = memoryview(lines)
        with write_errors(RunDirectoryError, self.path):
            while rest:
                rest = rest[self._file.write(rest) :]
        self.length += len(lines)

    def sync(self) -> None:
        """Make what was appended durable. Raises RunDirectoryError."""
        assert self._file is not None
        with write_errors(RunDirectoryError, self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """May be called twice."""
        if self._file is not None:
            self._file.close()
