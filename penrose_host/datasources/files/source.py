"""The datasource `files`: rows from Parquet, CSV, JSON lines and Arrow IPC files, local or remote, compressed or not.

A partition is a file, its offset the number of a row in it; rows that had to be rejected have an offset too, empty
lines have none. A partition that is paused is passed over. The first file's first rows fix the columns' types for all
files; columns are matched by name, and those that a file lacks are null.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from penrose_host.contracts.datasource import DataSource
from penrose_host.contracts.plugin import API_VERSION, Capability
from penrose_host.datasources.files.followed import FollowedFiles
from penrose_host.datasources.files.listed import ListedFiles
from penrose_host.datasources.files.listing import stable_pattern
from penrose_host.datasources.files.options import FilesOptions
from penrose_host.datasources.files.partitions import FilePartitions

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Chunk, Position

__all__ = ["FilesSource"]


class FilesSource(DataSource):
    """Rows from Parquet, CSV, JSON lines and Arrow IPC files, local or remote, compressed or not."""

    api_version: ClassVar[int] = API_VERSION
    Options = FilesOptions
    capabilities = frozenset({Capability.SEEK})

    options: FilesOptions

    def __init__(self, options: FilesOptions) -> None:
        super().__init__(options)
        self._partitions = FilePartitions(options)
        self._files: ListedFiles | FollowedFiles
        if options.follow:
            # This stream does not end.
            self.capabilities = frozenset({Capability.SEEK, Capability.UNBOUNDED})
            self._files = FollowedFiles(options, self._partitions)
        else:
            self._files = ListedFiles(options, self._partitions)

    @property
    def source_id(self) -> str:
        paths = ",".join(sorted(stable_pattern(path) for path in self.options.path))
        # What decides which bytes are which row; everything else only says how to read them.
        framing = self.options.csv.model_dump(include={"header", "quote", "delimiter"}, exclude_defaults=True)
        how = "".join(f";{name}={value!r}" for name, value in sorted(framing.items()))
        return f"files:{self.options.format}{how}:{paths}"

    def partitions(self) -> Sequence[str]:
        """The files' paths below the folder that the patterns have in common.

        With `follow`, raises SourceError for a file that comes late.
        """
        return self._files.partitions()

    def expect(self, stamps: Mapping[str, str]) -> None:
        """Raises SourceError for a file that is gone, cut short or rewritten; text that was appended is welcome."""
        self._files.expect(stamps)

    def stamps(self) -> Mapping[str, str]:
        """The fingerprints of the files that were read."""
        return self._partitions.fingerprints.texts

    def open(self, assignment: Mapping[str, int | None]) -> None:
        self._files.open(assignment)

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        return self._files.read(max_rows, timeout)

    def pause(self, partitions: Collection[str]) -> None:
        self._partitions.paused = frozenset(partitions)

    def ended(self) -> Collection[str]:
        return self._partitions.ended

    def compact(self, position: Position) -> Position:
        return self._files.compact(position)

    def close(self) -> None:
        self._partitions.close()
