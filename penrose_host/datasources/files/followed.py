"""The datasource `files` with `follow`: files as they appear, and rows as they are appended; an endless stream.

The order of names is the order of the stream. A file that cannot be appended to (Parquet, Arrow, compressed, remote)
is whole when it appears, and has ended once it is read. Local CSV and JSON lines may grow: only complete rows are
read, and such a file has ended once a later name exists and nothing was written to it for `settle`. When all files
up to a name have ended, and their rows are scored, that name is kept as a mark, and those before it are forgotten.
"""

from __future__ import annotations

import itertools
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from penrose_host.contracts.batch import Position
from penrose_host.contracts.plugin import Capability
from penrose_host.datasources.files.listed import FilesSource
from penrose_host.datasources.files.listing import DataFile, list_files
from penrose_host.datasources.files.stamps import Stamp
from penrose_host.errors import SourceError
from penrose_host.formats.schema_text import encoded

if TYPE_CHECKING:
    from os import stat_result

    import pyarrow as pa

    from penrose_host.contracts.batch import Chunk
    from penrose_host.datasources.files.options import FilesOptions
    from penrose_host.datasources.files.parts import Part, PartReader

__all__ = ["FollowedFiles"]

#: A listing is followed by at least so many times its own length without one.
LISTING = 10
#: Of files that may grow, so many are kept open; what others have gained is found by reading them from their start.
OPEN_FILES = 200
_START_AGAIN = "start the job again: what was appended is read then; a longer `settle` waits longer for last rows"


class FollowedFiles(FilesSource):
    """Reads files that come and grow; see the module."""

    capabilities = frozenset({Capability.SEEK, Capability.UNBOUNDED})

    def __init__(self, options: FilesOptions) -> None:
        super().__init__(options)
        self._seen: frozenset[str] | None = None
        self._list_at = 0.0
        # Files read to their present end → when that was; they are looked at again.
        self._looked: dict[str, float] = {}
        self._complete: set[str] = set()
        self._identities: dict[str, tuple[int, int]] = {}
        # Files that were let go at their present end → how many bytes that was.
        self._lengths: dict[str, int] = {}
        self._last = ""
        self._columns_kept = False

    # -- which files ------------------------------------------------------------------------------

    def partitions(self) -> Sequence[str]:
        """The files that are there now, without those before the mark. Raises SourceError for one that comes late."""
        if self._seen is not None and time.monotonic() >= self._list_at:
            self._list()
        return list(self._files)

    @property
    def _files(self) -> dict[str, DataFile]:
        if self._seen is None:
            self._list()
        return self._listed

    def _list(self) -> None:
        began = time.monotonic()
        found = self._found()
        if self._seen is None:
            new = {name for name in found if self._mark is None or name >= self._mark}
        else:
            new = self._in_time(found.keys() - self._seen)
        for name in self._ended & found.keys():
            self._check_ended(found[name])
        # A file that is to be read and is gone is an error when its turn comes, or is open still.
        kept = {n: f for n, f in self._listed.items() if n in found or n in self._unfinished}
        self._listed = dict(sorted((kept | {name: found[name] for name in new}).items()))
        self._seen = frozenset(found)
        # A folder that takes long to list is listed less often: reading is what matters.
        now = time.monotonic()
        self._list_at = now + max(self.options.poll / 1e6, LISTING * (now - began))

    def _found(self) -> dict[str, DataFile]:
        """The files that are there, with all that were there before the last of them."""
        first = list_files(self.options.path, self.options.storage_options, again=True)
        if not first.keys() - (self._seen or frozenset()):
            return first
        # A listing that is under way while files are made may hold a file and lack one that was made before it.
        # One that begins now lacks nothing up to the last name of the first.
        second = list_files(self.options.path, self.options.storage_options, again=True)
        last = max(first)
        return {name: file for name, file in second.items() if name <= last}

    def _in_time(self, names: set[str]) -> set[str]:
        """Those of the new names that are behind everything that has ended."""
        if not names:
            return names
        ended = self._ended_up_to()
        late = {name for name in names if ended is not None and name <= ended}
        if late and self.options.late_files == "fail":
            name = min(late)
            raise SourceError(
                f"{name} has appeared late: all files up to {ended} have ended already",
                plugin="files",
                partition=name,
                hint="write files in the order of their names; `late_files: ignore` goes on without such a file",
            )
        return names - late

    def _ended_up_to(self) -> str | None:
        """The last name of which, and before which, nothing more is to be read."""
        waiting = [*self._unfinished, *(self._listed.keys() - self._assigned.keys())]
        first = min(waiting, default=None)
        return max((name for name in self._ended if first is None or name < first), default=self._mark)

    def _check_ended(self, file: DataFile) -> None:
        """A file that has ended stays as it was, as long as anybody can tell."""
        stamp = self._stamps.get(file.name)
        if stamp is not None and file.size is not None and file.size != stamp.size:
            raise SourceError(
                f"{file.path} has changed after it had ended: it had {stamp.size} bytes and now has {file.size}",
                plugin="files",
                partition=file.name,
                hint=_START_AGAIN,
            )

    # -- from where -------------------------------------------------------------------------------

    def _expect_gone(self, name: str, stamp: Stamp) -> None:
        """Whether that is allowed is known once the position is: see `open`."""
        self._stamp(name, stamp)

    def open(self, assignment: Mapping[str, int | None]) -> None:
        for name in self._stamps.keys() - self._files.keys() - self._assigned.keys():
            offset = assignment.get(name) or 0
            if self._stamps[name].rows != offset:
                super()._expect_gone(name, self._stamps[name])
            # It was read to its end, and everybody is past it: it need not be there any more.
            self._assigned[name] = offset
            self._ended.add(name)
        super().open(assignment)

    def compact(self, position: Position) -> Position:
        """Without the files before the last name up to which all have ended and are behind the position."""
        done: list[str] = []
        for name in sorted(self._assigned.keys() | self._listed.keys()):
            if name not in self._ended or position.offsets.get(name, 0) < self._assigned[name]:
                break
            done.append(name)
        mark = max((name for name in done if name in self._stamps), default=None)
        if mark is None or mark == done[0]:
            return position
        dropped = {name for name in done if name < mark}
        columns = next((stamp.columns for name in dropped if (stamp := self._stamps.get(name)) and stamp.columns), None)
        stamp = self._stamps.pop(mark)
        self._stamp(mark, replace(stamp, mark=True, columns=columns or stamp.columns))
        self._mark = mark
        self._ended -= dropped
        self._complete -= dropped
        for name in dropped:
            del self._assigned[name]
            self._stamps.pop(name, None)
            self._stamp_texts.pop(name, None)
            self._listed.pop(name, None)
        return Position(position.source_id, {n: offset for n, offset in position.offsets.items() if n not in dropped})

    # -- reading ----------------------------------------------------------------------------------

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        deadline = time.monotonic() + timeout
        while turn := self._in_turn():
            for name in turn:
                chunk = self._next(name, max_rows)
                if chunk is not None:
                    self._last = name
                    return chunk
            if time.monotonic() >= deadline:
                return None
        time.sleep(min(timeout, self.options.poll / 1e6))
        return None

    def _in_turn(self) -> list[str]:
        """The files to try now: those that may have grown, and the first that was not read to its end yet.

        Behind the one that gave rows last, so that a file which grows fast keeps none of the others waiting.
        """
        since = time.monotonic() - self.options.poll / 1e6
        due = [*self._parts, *(name for name, looked in self._looked.items() if looked <= since)]
        names = {name for name in due if name not in self._paused}
        unread = (name for name in self._unfinished if name not in self._looked and name not in self._paused)
        names.update(itertools.islice(unread, 1))
        turn = sorted(names)
        behind = bisect_right(turn, self._last)
        return turn[behind:] + turn[:behind]

    def _read(self, name: str) -> Part | None:
        """The next rows; None where there are none for now, or none any more: the partition has ended then."""
        from penrose_host.datasources.files.text_reader import TextReader

        file = self._files[name]
        if self._rests(file):
            self._looked[name] = time.monotonic()
            return None
        reader = self._reader(name)
        part = reader.read() if reader is not None else None
        if part is not None:
            if self._schema is not None:
                return part
            # All rows so far were bad ones: the columns follow from the first that is not.
            self._let_go(name)
            return part if part.batch.num_rows == 0 else self._read(name)
        grows = self._grows(file)
        if grows and self._is_over(file):
            self._complete.add(name)
            if isinstance(reader, TextReader):
                reader.stop_growing()
            return self._read(name)
        if grows:
            self._looked[name] = time.monotonic()
            if self._schema is None:
                self._let_go(name)
            elif len(self._handles) > OPEN_FILES and reader is not None:
                self._lengths[name] = self._handles[name].tell()
                self._let_go(name)
        else:
            self._finish(name)
        return None

    def _rests(self, file: DataFile) -> bool:
        """Whether the file was let go at its end, and that is where it still ends: it need not be opened again."""
        length = self._lengths.pop(file.name, None)
        if length is None or self._is_over(file):
            return False
        with file.access():
            rests = Path(file.path).stat().st_size == length
        if rests:
            self._lengths[file.name] = length
        return rests

    def _let_go(self, name: str) -> None:
        """Close the file; it will be opened again."""
        if name in self._readers:
            self._readers.pop(name).close()
            self._handles.pop(name).close()

    def _reader(self, name: str) -> PartReader | None:
        """Also keeps which file it is that was opened."""
        opened, file = name in self._readers, self._files[name]
        reader = super()._reader(name)
        if reader is not None and not opened and self._grows(file):
            with file.access():
                self._identities[name] = _identity(Path(file.path).stat())
        return reader

    def _finish(self, name: str) -> None:
        super()._finish(name)
        self._looked.pop(name, None)
        self._identities.pop(name, None)

    def _is_over(self, file: DataFile) -> bool:
        """Whether what was read of a growing file is all there will be. Raises SourceError where it is another now."""
        try:
            status = Path(file.path).stat()
        except FileNotFoundError:
            return True
        handle = self._handles.get(file.name)
        if handle is not None:
            if _identity(status) != self._identities[file.name] or status.st_size < handle.tell():
                raise SourceError(
                    f"{file.path} was replaced, or cut short, while it was followed",
                    plugin="files",
                    partition=file.name,
                    hint="have each log written under a name of its own, which later names follow",
                )
            if status.st_size > handle.tell():
                return False
        settle, last = self.options.settle, next(reversed(self._listed))
        return settle is not None and file.name < last and time.time() - status.st_mtime >= settle / 1e6

    def _grows(self, file: DataFile) -> bool:
        return file.name not in self._complete and file.local and self._may_grow(file)

    # -- which columns ----------------------------------------------------------------------------

    def _without_rows(self) -> pa.Schema:
        """For now; the next file that is opened may have some."""
        schema = super()._without_rows()
        self._schema = None
        return schema

    def _inferred(self) -> tuple[DataFile | None, pa.Schema | None]:
        """What was inferred once holds for as long as the stream is followed: the file may be gone by then."""
        file, inferred = super()._inferred()
        if inferred is not None and self._columns is None:
            self._columns = encoded(inferred)
        return file, inferred

    def _stamp(self, name: str, stamp: Stamp) -> None:
        if self._columns is not None and not self._columns_kept:
            stamp = replace(stamp, columns=self._columns)
        super()._stamp(name, stamp)
        self._columns_kept = self._columns_kept or stamp.columns is not None


def _identity(status: stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
