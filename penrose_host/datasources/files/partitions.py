"""The partitions of a stream of files: how far each was read, what its file was like then, and its reader."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from penrose_host.datasources.files.columns import StreamColumns
from penrose_host.datasources.files.file_names import can_be_appended
from penrose_host.datasources.files.fingerprints import Fingerprint, Fingerprints, take_fingerprint, what_changed
from penrose_host.datasources.files.listing import LeftOut
from penrose_host.errors import SourceError, WrongStream

if TYPE_CHECKING:
    from os import stat_result

    import pyarrow as pa

    from penrose_host.contracts.batch import Chunk
    from penrose_host.datasources.files.listing import DataFile
    from penrose_host.datasources.files.options import FilesOptions
    from penrose_host.datasources.files.slices import FileReader, FileSlice

__all__ = ["FilePartitions", "OpenFile", "identity_of"]

_HINT = "put the file back as it was, or start a new run in another run directory"


@dataclass(frozen=True, slots=True)
class OpenFile:
    """`identity`: which file it is (device and inode), of files that grow: others may take its path meanwhile."""

    reader: FileReader
    handle: pa.NativeFile
    identity: tuple[int, int] | None


class FilePartitions:
    """Each file is a partition. What lists the files, and says which is read next, stands on this.

    `files`: partition → file, in order of the names, set by whoever lists them. `next`: assigned partition → offset
    where reading goes on. `unfinished`: assigned partitions that may give rows, in order; the other ones have `ended`.
    `paused`: those to give no rows of. `held`: rows that were read and not handed over.
    """

    def __init__(self, options: FilesOptions) -> None:
        self._options = options
        self.files: dict[str, DataFile] = {}
        self.left_out = LeftOut()
        self.fingerprints = Fingerprints()
        self.columns = StreamColumns(options, self.fingerprints)
        self.next: dict[str, int] = {}
        self.unfinished: list[str] = []
        self.ended: set[str] = set()
        self.paused: frozenset[str] = frozenset()
        self.held: dict[str, FileSlice] = {}
        # Followed files that will not grow any more.
        self._complete: set[str] = set()
        self._open: dict[str, OpenFile] = {}

    def before_mark(self, name: str) -> bool:
        """Whether the file had ended, and was forgotten, before the run was resumed."""
        return self.fingerprints.mark is not None and name < self.fingerprints.mark

    # -- from where -------------------------------------------------------------------------------

    def check(self, name: str, fingerprint: Fingerprint) -> None:
        """Keep the fingerprint that a checkpoint has of a file. Raises SourceError where it is not true any more."""
        with self.files[name].open() as handle:
            self.fingerprints.set(name, self._unchanged(name, fingerprint, handle, "since the checkpoint"))

    def gone(self, name: str) -> SourceError:
        """The error for a file that was read and is not there any more."""
        return SourceError(
            f"{name} was read before the checkpoint, and no file of that name matches {self._options.path} now",
            plugin="files",
            partition=name,
            hint=_HINT,
        )

    def assign(self, assignment: Mapping[str, int | None]) -> None:
        """Read these too, each from its offset. Raises WrongStream for an offset that cannot be one."""
        for name, offset in assignment.items():
            if name in self.next:
                continue
            if self.before_mark(name):
                self.assign_ended(name, offset or 0)
                continue
            if name not in self.files:
                raise WrongStream(
                    f"the position has a partition {name!r}, but no file of that name matches {self._options.path}",
                    hint=_HINT,
                )
            if offset is not None and offset < 0:
                raise WrongStream(
                    f"partition {name!r} of the files cannot start at offset {offset}",
                    hint="offsets count a file's rows from 0",
                )
            known = self.fingerprints.get(name)
            if known is not None and known.rows is not None and known.rows == offset:
                self.assign_ended(name, offset)
                continue
            self.next[name] = offset or 0
            self.unfinished.append(name)
            if offset:  # so that a position that cannot be is an error now, not when its turn comes
                self.reader(name)
        self.unfinished.sort()

    def assign_ended(self, name: str, offset: int) -> None:
        """A partition that was read to its end before; its file need not be there."""
        self.next[name] = offset
        self.ended.add(name)

    def forget(self, names: Collection[str], mark: str) -> None:
        """Name these no more: they have ended, and come before `mark`, which has too."""
        self.fingerprints.forget(names, mark)
        self.ended -= set(names)
        self._complete -= set(names)
        for name in names:
            del self.next[name]
            self.files.pop(name, None)

    # -- reading ----------------------------------------------------------------------------------

    def reader(self, name: str) -> FileReader | None:
        """The partition's reader, at its next row; opens the file where it is not open yet.

        None where the file grows, and its header is not complete.
        """
        if (found := self._open.get(name)) is not None:
            return found.reader
        from penrose_host.datasources.files.opening import open_reader

        file = self.files[name]
        schema = self.columns.schema(self.files.values(), self.grows)
        with ExitStack() as on_error:
            handle = on_error.enter_context(file.open())
            if (known := self.fingerprints.get(name)) is not None:
                self._unchanged(name, known, handle, "since it was looked at")
            with file.access():
                fingerprint = take_fingerprint(handle, changed=file.changed())
            origin, grows = self.columns.origin, self.grows(file)
            reader = open_reader(file, handle, self._options, schema, origin, grows=grows)
            if reader is None:
                return None
            self.fingerprints.set(name, fingerprint)
            reader.skip_to(self.next[name])
            with file.access():
                identity = identity_of(Path(file.path).stat()) if self.grows(file) else None
            on_error.pop_all()
        self._open[name] = OpenFile(reader, handle, identity)
        return reader

    def chunk(self, name: str, rows: FileSlice, max_rows: int) -> Chunk:
        """The first of these rows, which come next in the partition; the others are held."""
        first, rest = rows.split(rows.start + max_rows)
        if rest is not None:
            self.held[name] = rest
        self.next[name] = first.stop
        return first.chunk()

    def finish(self, name: str) -> None:
        """All of the file was read: its fingerprint now covers just that, and says how many rows it is.

        Raises SourceError where the file has changed meanwhile.
        """
        file, handle = self.files[name], self._open[name].handle
        known = self.fingerprints.get(name)
        assert known is not None
        size = handle.tell() if can_be_appended(file, self._options) else None
        self._unchanged(name, known, handle, "while it was read")
        with file.access():
            fingerprint = take_fingerprint(handle, size, file.changed())
        self.fingerprints.set(name, replace(fingerprint, rows=self.next[name]))
        self.let_go(name)
        self.unfinished.remove(name)
        self.ended.add(name)

    def let_go(self, name: str) -> None:
        """Close the file, if it is open; it can be opened again."""
        if (found := self._open.pop(name, None)) is not None:
            found.reader.close()
            found.handle.close()

    def close(self) -> None:
        for name in list(self._open):
            self.let_go(name)
        self.held.clear()

    # -- files that grow --------------------------------------------------------------------------

    def grows(self, file: DataFile) -> bool:
        """Whether the end of the file, as it is, may not be its end."""
        if not self._options.follow or file.name in self._complete or not file.local:
            return False
        return can_be_appended(file, self._options)

    def stop_growing(self, name: str) -> None:
        """Nothing more will be appended: what is left is the last row."""
        from penrose_host.datasources.files.text_reader import TextReader

        self._complete.add(name)
        if (found := self._open.get(name)) is not None and isinstance(found.reader, TextReader):
            found.reader.stop_growing()

    def opened(self, name: str) -> OpenFile | None:
        """The partition's file, where it is open."""
        return self._open.get(name)

    def open_files(self) -> int:
        """How many files are open."""
        return len(self._open)

    def _unchanged(self, name: str, fingerprint: Fingerprint, handle: pa.NativeFile, when: str) -> Fingerprint:
        """What is true of the file now. Raises SourceError where it is not what the fingerprint says any more."""
        file = self.files[name]
        may_grow = can_be_appended(file, self._options)
        with file.access():
            change, now = what_changed(fingerprint, handle, may_grow=may_grow, changed=file.changed())
        if change:
            raise file.error(f"{file.path} has changed {when}: {change}", _HINT, offset=self.next.get(name))
        return now


def identity_of(status: stat_result) -> tuple[int, int]:
    """See `OpenFile`."""
    return status.st_dev, status.st_ino
