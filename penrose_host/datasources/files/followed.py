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
from pathlib import Path
from typing import TYPE_CHECKING

from penrose_host.contracts.batch import Position
from penrose_host.datasources.files.listing import DataFile, list_files
from penrose_host.datasources.files.partitions import identity_of
from penrose_host.errors import SourceError

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Chunk
    from penrose_host.datasources.files.options import FilesOptions
    from penrose_host.datasources.files.partitions import FilePartitions
    from penrose_host.datasources.files.slices import FileSlice

__all__ = ["FollowedFiles"]

#: A listing is followed by at least so many times its own length without one.
LISTING = 10
#: Of files that may grow, so many are kept open; what others have gained is found by reading them from their start.
OPEN_FILES = 200
_START_AGAIN = "start the job again: what was appended is read then; a longer `settle` waits longer for last rows"


class FollowedFiles:
    """Reads files that come and grow; see the module."""

    def __init__(self, options: FilesOptions, partitions: FilePartitions) -> None:
        self._options = options
        self._partitions = partitions
        # What the last listing found; None before the first.
        self._found: frozenset[str] | None = None
        self._list_at = 0.0
        # Files read to their present end → when that was; they are looked at again.
        self._exhausted: dict[str, float] = {}
        # Files that were let go at their present end → how many bytes that was.
        self._sizes: dict[str, int] = {}
        # The file that gave rows last.
        self._last = ""

    # -- which files ------------------------------------------------------------------------------

    def partitions(self) -> Sequence[str]:
        """The files that are there now, without those before the mark. Raises SourceError for one that comes late."""
        if self._found is None or time.monotonic() >= self._list_at:
            self._list()
        return list(self._partitions.files)

    def _list(self) -> None:
        began, files = time.monotonic(), self._partitions
        found = self._look()
        if self._found is None:
            new = {name for name in found if not files.before_mark(name)}
        else:
            new = self._in_time(found.keys() - self._found)
        for name in files.ended & found.keys():
            self._check_ended(found[name])
        # A file that is to be read and is gone is an error when its turn comes, or is open still.
        kept = {n: f for n, f in files.files.items() if n in found or n in files.unfinished}
        files.files = dict(sorted((kept | {name: found[name] for name in new}).items()))
        self._found = frozenset(found)
        # A folder that takes long to list is listed less often: reading is what matters.
        now = time.monotonic()
        self._list_at = now + max(self._options.poll / 1e6, LISTING * (now - began))

    def _look(self) -> dict[str, DataFile]:
        """The files that are there, with all that were there before the last of them."""
        first = list_files(self._options.path, self._options.storage_options, self._partitions.left_out, again=True)
        if not first.keys() - (self._found or frozenset()):
            return first
        # A listing that is under way while files are made may hold a file and lack one that was made before it.
        # One that begins now lacks nothing up to the last name of the first.
        second = list_files(self._options.path, self._options.storage_options, self._partitions.left_out, again=True)
        last = max(first)
        return {name: file for name, file in second.items() if name <= last}

    def _in_time(self, names: set[str]) -> set[str]:
        """Those of the new names that are behind everything that has ended."""
        if not names:
            return names
        ended = self._ended_up_to()
        late = {name for name in names if ended is not None and name <= ended}
        if late and self._options.late_files == "fail":
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
        files = self._partitions
        waiting = [*files.unfinished, *(files.files.keys() - files.next.keys())]
        first = min(waiting, default=None)
        return max((n for n in files.ended if first is None or n < first), default=files.fingerprints.mark)

    def _check_ended(self, file: DataFile) -> None:
        """A file that has ended stays as it was, as long as anybody can tell."""
        known = self._partitions.fingerprints.get(file.name)
        if known is not None and file.size is not None and file.size != known.size:
            raise file.error(
                f"{file.path} has changed after it had ended: it had {known.size} bytes and now has {file.size}",
                _START_AGAIN,
            )

    # -- from where -------------------------------------------------------------------------------

    def expect(self, stamps: Mapping[str, str]) -> None:
        """Raises SourceError for a file that is cut short or rewritten."""
        expected = self._partitions.fingerprints.load(stamps)
        if self._found is None:
            self._list()
        for name, fingerprint in expected.items():
            if name in self._partitions.files:
                self._partitions.check(name, fingerprint)
            else:
                # Whether it may be gone is known once the position is: see `open`.
                self._partitions.fingerprints.set(name, fingerprint)

    def open(self, assignment: Mapping[str, int | None]) -> None:
        if self._found is None:
            self._list()
        files = self._partitions
        for name in files.fingerprints.names() - files.files.keys() - files.next.keys():
            offset, known = assignment.get(name) or 0, files.fingerprints.get(name)
            if known is None or known.rows != offset:
                raise files.gone(name)
            # It was read to its end, and everybody is past it: it need not be there any more.
            files.assign_ended(name, offset)
        files.assign(assignment)

    def compact(self, position: Position) -> Position:
        """Without the files before the last name up to which all have ended and are behind the position."""
        files = self._partitions
        done: list[str] = []
        for name in sorted(files.next.keys() | files.files.keys()):
            if name not in files.ended or position.offsets.get(name, 0) < files.next[name]:
                break
            done.append(name)
        mark = max((name for name in done if files.fingerprints.get(name) is not None), default=None)
        if mark is None or mark == done[0]:
            return position
        dropped = {name for name in done if name < mark}
        files.forget(dropped, mark)
        return Position(position.source_id, {n: offset for n, offset in position.offsets.items() if n not in dropped})

    # -- reading ----------------------------------------------------------------------------------

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        deadline = time.monotonic() + timeout
        while turn := self._in_turn():
            for name in turn:
                rows = self._partitions.held.pop(name, None) or self._read(name)
                if rows is not None:
                    self._last = name
                    return self._partitions.chunk(name, rows, max_rows)
            if time.monotonic() >= deadline:
                return None
        time.sleep(min(timeout, self._options.poll / 1e6))
        return None

    def _in_turn(self) -> list[str]:
        """The files to try now: those that may have grown, and the first that was not read to its end yet.

        Behind the one that gave rows last, so that a file which grows fast keeps none of the others waiting.
        """
        files = self._partitions
        since = time.monotonic() - self._options.poll / 1e6
        due = [*files.held, *(name for name, when in self._exhausted.items() if when <= since)]
        names = {name for name in due if name not in files.paused}
        unread = (name for name in files.unfinished if name not in self._exhausted and name not in files.paused)
        names.update(itertools.islice(unread, 1))
        turn = sorted(names)
        behind = bisect_right(turn, self._last)
        return turn[behind:] + turn[:behind]

    def _read(self, name: str) -> FileSlice | None:
        """The next rows; None where there are none for now, or none any more: the partition has ended then."""
        files = self._partitions
        file = files.files[name]
        if self._rests(file):
            self._exhausted[name] = time.monotonic()
            return None
        reader = files.reader(name)
        rows = reader.read() if reader is not None else None
        if rows is not None:
            if files.columns.known:
                return rows
            # All rows so far were bad ones: the columns follow from the first that is not.
            files.let_go(name)
            return rows if rows.batch.num_rows == 0 else self._read(name)
        if not files.grows(file):
            files.finish(name)
            self._exhausted.pop(name, None)
        elif self._is_over(file):
            files.stop_growing(name)
            return self._read(name)
        else:
            self._exhausted[name] = time.monotonic()
            if not files.columns.known:
                files.let_go(name)
            elif files.open_files() > OPEN_FILES and (opened := files.opened(name)) is not None:
                self._sizes[name] = opened.handle.tell()
                files.let_go(name)
        return None

    def _rests(self, file: DataFile) -> bool:
        """Whether the file was let go at its end, and that is where it still ends: it need not be opened again."""
        size = self._sizes.pop(file.name, None)
        if size is None or self._is_over(file):
            return False
        with file.access():
            rests = Path(file.path).stat().st_size == size
        if rests:
            self._sizes[file.name] = size
        return rests

    def _is_over(self, file: DataFile) -> bool:
        """Whether what was read of a growing file is all there will be. Raises SourceError where it is another now."""
        try:
            status = Path(file.path).stat()
        except FileNotFoundError:
            return True
        if (opened := self._partitions.opened(file.name)) is not None:
            read = opened.handle.tell()
            if identity_of(status) != opened.identity or status.st_size < read:
                raise file.error(
                    f"{file.path} was replaced, or cut short, while it was followed",
                    "have each log written under a name of its own, which later names follow",
                    offset=self._partitions.next[file.name],
                )
            if status.st_size > read:
                return False
        settle, last = self._options.settle, next(reversed(self._partitions.files))
        return settle is not None and file.name < last and time.time() - status.st_mtime >= settle / 1e6
