"""The columns of a stream of files: the same for all of them, and fixed by the first rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penrose_host.formats.schema_text import decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import pyarrow as pa

    from penrose_host.datasources.files.fingerprints import Fingerprints
    from penrose_host.datasources.files.listing import DataFile
    from penrose_host.datasources.files.options import FilesOptions

__all__ = ["StreamColumns"]


class StreamColumns:
    """The columns of all files: those of the first file that has rows, whoever reads it.

    Of a stream that is followed, what was inferred once holds as long as the stream does: it is kept with the
    fingerprints, since the file may be gone later.
    """

    def __init__(self, options: FilesOptions, fingerprints: Fingerprints) -> None:
        self._options = options
        self._fingerprints = fingerprints
        self._fixed: pa.Schema | None = None
        #: The file whose types these are, as errors name it.
        self.origin = "the run's first file"

    @property
    def known(self) -> bool:
        """Whether the columns are fixed: a row that is right was there."""
        return self._fixed is not None

    def schema(self, files: Collection[DataFile], grows: Callable[[DataFile], bool]) -> pa.Schema:
        """The columns to read, found out where they are not fixed yet. Raises SourceError.

        `files`: in order of their names. `grows`: whether the end of a file, as it is, may not be its end.
        """
        if self._fixed is not None:
            return self._fixed
        from penrose_host.datasources.files.opening import fix_schema

        file, inferred = self._inferred(files, grows)
        if file is not None and inferred is not None:
            self._fixed = fix_schema(file, inferred, self._options)
            return self._fixed
        import pyarrow as pa

        # No file has a row that is right. Those that are followed may get one.
        empty = pa.schema([("empty", pa.null())])
        if not self._options.follow:
            self._fixed = empty
        return empty

    def _inferred(
        self, files: Collection[DataFile], grows: Callable[[DataFile], bool]
    ) -> tuple[DataFile | None, pa.Schema | None]:
        """The first file with rows and its columns, or the columns that were inferred when the stream began."""
        from penrose_host.datasources.files.opening import infer_schema

        if self._fingerprints.columns is not None:
            return next(iter(files), None), decoded(self._fingerprints.columns)
        for file in files:
            with file.open() as handle:
                inferred = infer_schema(file, handle, self._options, grows=grows(file))
            if inferred is not None:
                self.origin = file.path
                if self._options.follow:
                    self._fingerprints.columns = encoded(inferred)
                return file, inferred
        return None, None
