"""Files that are all there: read one after the other in name order, each open only while it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from penrose_host.contracts.datasource import EndOfStream
from penrose_host.datasources.files.listing import list_files

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Chunk, Position
    from penrose_host.datasources.files.options import FilesOptions
    from penrose_host.datasources.files.partitions import FilePartitions
    from penrose_host.datasources.files.slices import FileSlice

__all__ = ["ListedFiles"]


class ListedFiles:
    """Reads the files that are there when they are listed, once; a stream with an end."""

    def __init__(self, options: FilesOptions, partitions: FilePartitions) -> None:
        self._options = options
        self._partitions = partitions

    def partitions(self) -> Sequence[str]:
        self._list()
        return list(self._partitions.files)

    def expect(self, stamps: Mapping[str, str]) -> None:
        expected = self._partitions.fingerprints.load(stamps)
        self._list()
        for name, fingerprint in expected.items():
            if name not in self._partitions.files:
                raise self._partitions.gone(name)
            self._partitions.check(name, fingerprint)

    def open(self, assignment: Mapping[str, int | None]) -> None:
        self._list()
        self._partitions.assign(assignment)

    def read(self, max_rows: int, timeout: float) -> Chunk | None:  # noqa: ARG002 - files never keep one waiting
        unfinished, paused = self._partitions.unfinished, self._partitions.paused
        while (name := next((name for name in unfinished if name not in paused), None)) is not None:
            rows = self._partitions.held.pop(name, None) or self._read(name)
            if rows is not None:
                return self._partitions.chunk(name, rows, max_rows)
        if unfinished:
            return None
        raise EndOfStream

    def compact(self, position: Position) -> Position:
        return position

    def _list(self) -> None:
        if not self._partitions.files:
            found = list_files(self._options.path, self._options.storage_options, self._partitions.left_out)
            # A stream that was followed before has a mark.
            self._partitions.files = {n: f for n, f in found.items() if not self._partitions.before_mark(n)}

    def _read(self, name: str) -> FileSlice | None:
        """The next rows as the file gives them; None where there are none, and that is the end of it."""
        reader = self._partitions.reader(name)
        rows = reader.read() if reader is not None else None
        if rows is None:
            self._partitions.finish(name)
        return rows
