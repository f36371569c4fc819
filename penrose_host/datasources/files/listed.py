"""The datasource `files`: rows from Parquet, CSV, JSON lines and Arrow IPC files, local or remote, compressed or not.

A partition is a file, its offset the number of a row in it; rows that had to be rejected have an offset too, empty
lines have none. Files are read one after the other in name order, and open only while they are read; a partition
that is paused is passed over. The first file's first rows fix the columns' types for all files; columns are matched
by name, and those that a file lacks are null.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from penrose_host.contracts.datasource import DataSource, EndOfStream
from penrose_host.contracts.plugin import API_VERSION, Capability
from penrose_host.datasources.files.listing import DataFile, list_files, stable_pattern
from penrose_host.datasources.files.options import FilesOptions
from penrose_host.datasources.files.stamps import Stamp, take_stamp, what_changed
from penrose_host.errors import SourceError, WrongStream
from penrose_host.formats.schema_text import decoded

if TYPE_CHECKING:
    import pyarrow as pa

    from penrose_host.contracts.batch import Chunk
    from penrose_host.datasources.files.parts import Part, PartReader

__all__ = ["FilesSource"]

_HINT = "put the file back as it was, or start a new run in another run directory"


class FilesSource(DataSource):
    """Rows from Parquet, CSV, JSON lines and Arrow IPC files, local or remote, compressed or not."""

    api_version: ClassVar[int] = API_VERSION
    Options = FilesOptions
    capabilities = frozenset({Capability.SEEK})

    options: FilesOptions

    def __new__(cls, options: FilesOptions) -> FilesSource:
        """With `follow` the source is another one, which never ends."""
        if options.follow and cls is FilesSource:
            from penrose_host.datasources.files.followed import FollowedFiles

            return object.__new__(FollowedFiles)
        return object.__new__(cls)

    def __init__(self, options: FilesOptions) -> None:
        super().__init__(options)
        self._listed: dict[str, DataFile] = {}
        self._schema: pa.Schema | None = None
        self._assigned: dict[str, int] = {}
        self._unfinished: list[str] = []
        self._ended: set[str] = set()
        self._paused: frozenset[str] = frozenset()
        self._handles: dict[str, pa.NativeFile] = {}
        self._readers: dict[str, PartReader] = {}
        self._parts: dict[str, Part] = {}
        self._stamps: dict[str, Stamp] = {}
        self._stamp_texts: dict[str, str] = {}
        # What a stream that was followed has left in its stamps: see `Stamp`.
        self._mark: str | None = None
        self._columns: str | None = None

    @property
    def source_id(self) -> str:
        paths = ",".join(sorted(stable_pattern(path) for path in self.options.path))
        # What decides which bytes are which row; everything else only says how to read them.
        framing = self.options.csv.model_dump(include={"header", "quote", "delimiter"}, exclude_defaults=True)
        how = "".join(f";{name}={value!r}" for name, value in sorted(framing.items()))
        return f"files:{self.options.format}{how}:{paths}"

    def partitions(self) -> Sequence[str]:
        """The files' paths below the folder that the patterns have in common; listed once."""
        return list(self._files)

    def expect(self, stamps: Mapping[str, str]) -> None:
        """Raises SourceError for a file that is gone, cut short or rewritten; text that was appended is welcome."""
        expected: dict[str, Stamp] = {}
        for name, text in stamps.items():
            try:
                stamp = expected[name] = Stamp.from_text(text)
            except (ValueError, TypeError) as error:
                raise WrongStream(f"the stamp of {name!r} is not one of the datasource files: {text!r}") from error
            self._mark = name if stamp.mark else self._mark
            self._columns = stamp.columns or self._columns
        for name, stamp in expected.items():
            file = self._files.get(name)
            if file is None:
                self._expect_gone(name, stamp)
                continue
            with file.open() as handle:
                self._stamp(name, self._unchanged(file, stamp, handle, "since the checkpoint"))

    def stamps(self) -> Mapping[str, str]:
        return self._stamp_texts

    def open(self, assignment: Mapping[str, int | None]) -> None:
        for name, offset in assignment.items():
            if name in self._assigned:
                continue
            if self._mark is not None and name < self._mark:
                self._assigned[name] = offset or 0
                self._ended.add(name)
                continue
            if name not in self._files:
                raise WrongStream(
                    f"the position has a partition {name!r}, but no file of that name matches {self.options.path}",
                    hint=_HINT,
                )
            if offset is not None and offset < 0:
                raise WrongStream(f"partition {name!r} cannot start at offset {offset}")
            self._assigned[name] = offset or 0
            known = self._stamps.get(name)
            if known is not None and known.rows is not None and known.rows == offset:
                self._ended.add(name)
                continue
            self._unfinished.append(name)
            if offset:  # so that a position that cannot be is an error now, not when its turn comes
                self._reader(name)
        self._unfinished.sort()

    def read(self, max_rows: int, timeout: float) -> Chunk | None:  # noqa: ARG002 - files never keep one waiting
        while (name := next((name for name in self._unfinished if name not in self._paused), None)) is not None:
            chunk = self._next(name, max_rows)
            if chunk is not None:
                return chunk
        if self._unfinished:
            return None
        raise EndOfStream

    def pause(self, partitions: Collection[str]) -> None:
        self._paused = frozenset(partitions)

    def ended(self) -> Collection[str]:
        return self._ended

    def close(self) -> None:
        for name in list(self._readers):
            self._readers.pop(name).close()
        for name in list(self._handles):
            self._handles.pop(name).close()
        self._parts.clear()

    @property
    def _files(self) -> dict[str, DataFile]:
        if not self._listed:
            listed = list_files(self.options.path, self.options.storage_options)
            self._listed = {name: file for name, file in listed.items() if self._mark is None or name >= self._mark}
        return self._listed

    def _expect_gone(self, name: str, stamp: Stamp) -> None:  # noqa: ARG002 - followed files may be gone
        raise SourceError(
            f"{name} was read before the checkpoint, and no file of that name matches {self.options.path} now",
            plugin="files",
            partition=name,
            hint=_HINT,
        )

    def _next(self, name: str, max_rows: int) -> Chunk | None:
        """The next rows of a partition; None where it has none."""
        part = self._parts.pop(name, None) or self._read(name)
        if part is None:
            return None
        part, rest = part.split(part.start + max_rows)
        if rest is not None:
            self._parts[name] = rest
        self._assigned[name] = part.stop
        return part.chunk()

    def _read(self, name: str) -> Part | None:
        """The next rows as the file gives them; None where there are none, and that is the end of it."""
        reader = self._reader(name)
        part = reader.read() if reader is not None else None
        if part is None:
            self._finish(name)
        return part

    def _reader(self, name: str) -> PartReader | None:
        """The partition's reader, at its next row; opens the file where it is not open yet.

        None where the file grows, and its header is not complete.
        """
        from penrose_host.datasources.files.opening import open_reader

        if name not in self._readers:
            file = self._files[name]
            schema = self._fixed_schema()
            handle = self._handles[name] = file.open()
            if name in self._stamps:
                self._unchanged(file, self._stamps[name], handle, "since it was looked at")
            with file.access():
                stamp = take_stamp(handle, changed=file.changed())
            reader = open_reader(file, handle, self.options, schema, grows=self._grows(file))
            if reader is None:
                self._handles.pop(name).close()
                return None
            self._stamp(name, stamp)
            self._readers[name] = reader
            reader.skip_to(self._assigned[name])
        return self._readers[name]

    def _finish(self, name: str) -> None:
        """Everything of this partition has been read: its stamp now covers just that, and says how many rows it is."""
        handle, file = self._handles[name], self._files[name]
        size = handle.tell() if self._may_grow(file) else None
        self._unchanged(file, self._stamps[name], handle, "while it was read")
        with file.access():
            stamp = take_stamp(handle, size, file.changed())
        self._stamp(name, replace(stamp, rows=self._assigned[name]))
        self._readers.pop(name).close()
        self._handles.pop(name).close()
        self._unfinished.remove(name)
        self._ended.add(name)

    def _stamp(self, name: str, stamp: Stamp) -> None:
        if (known := self._stamps.get(name)) is not None:
            stamp = replace(stamp, mark=stamp.mark or known.mark, columns=stamp.columns or known.columns)
        self._stamps[name] = stamp
        self._stamp_texts[name] = stamp.to_text()

    def _unchanged(self, file: DataFile, stamp: Stamp, handle: pa.NativeFile, when: str) -> Stamp:
        """What is true of the file now. Raises SourceError where it is not what the stamp says any more."""
        with file.access():
            change, now = what_changed(stamp, handle, may_grow=self._may_grow(file), changed=file.changed())
        if change:
            raise SourceError(
                f"{file.path} has changed {when}: {change}", plugin="files", partition=file.name, hint=_HINT
            )
        return now

    def _fixed_schema(self) -> pa.Schema:
        """The columns of all files: those of the first file that has rows, whoever reads it."""
        from penrose_host.datasources.files.opening import fix_schema

        if self._schema is None:
            file, inferred = self._inferred()
            if file is None or inferred is None:
                return self._without_rows()
            self._schema = fix_schema(file, inferred, self.options)
        return self._schema

    def _without_rows(self) -> pa.Schema:
        """The columns of files without a row that is right."""
        import pyarrow as pa

        self._schema = pa.schema([("empty", pa.null())])
        return self._schema

    def _inferred(self) -> tuple[DataFile | None, pa.Schema | None]:
        """The first file with rows and its columns, or the columns that were inferred when the stream began."""
        from penrose_host.datasources.files.opening import infer_schema

        if self._columns is not None:
            return next(iter(self._files.values()), None), decoded(self._columns)
        for file in self._files.values():
            with file.open() as handle:
                inferred = infer_schema(file, handle, self.options, grows=self._grows(file))
            if inferred is not None:
                return file, inferred
        return None, None

    def _grows(self, file: DataFile) -> bool:  # noqa: ARG002 - files that are not followed do not
        """Whether the end of the file, as it is, may not be its end."""
        return False

    def _may_grow(self, file: DataFile) -> bool:
        """Whether rows may be appended to the file: it is text, as it is."""
        from penrose_host.datasources.files.file_names import form_of

        form, compression, _ = form_of(file, self.options)
        return form in ("csv", "jsonl") and compression == "none"
