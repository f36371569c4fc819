"""The bytes of a text file from first to last, decompressed on the way."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import pyarrow as pa

    from penrose_host.datasources.files.listing import DataFile
    from penrose_host.datasources.files.options import Compression

__all__ = ["BLOCK_BYTES", "ByteStream", "decompressed"]

#: Text is read so many bytes at a time.
BLOCK_BYTES = 1 << 20
#: Arrow's zstd stream loses what it decoded of a read that fails, so that reads from it are short.
_ZSTD_READ = 16 << 10


class ByteStream:
    """Reads text forward, without its byte order mark.

    What goes wrong on the way ends the bytes, and is kept in `failure`: whatever could be decompressed before a
    truncation is still read as rows.
    """

    def __init__(self, file: DataFile, handle: pa.NativeFile, compression: Compression) -> None:
        self.failure: Exception | None = None
        self._file = file
        self._handle = handle
        self._at_start = True
        self._stream: Any = None
        try:
            self._stream = decompressed(handle, compression)
        except Exception as error:  # not what its name says; see `read`
            self.failure = error
        self._compression = compression

    def read(self, size: int) -> bytes:
        """Up to `size` bytes (1 or more); none at the end, or where reading failed."""
        parts: list[bytes] = []
        wanted = size
        while wanted > 0 and self.failure is None:
            try:
                part = self._read_some(wanted)
            except Exception as error:  # a remote file system raises what its client library raises
                self.failure = error
                break
            if not part:
                break
            parts.append(part)
            wanted -= len(part)
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        if self._at_start and data:
            self._at_start = False
            return data.removeprefix(codecs.BOM_UTF8)
        return data

    def check(self, rows: int) -> None:
        """Raises SourceError where reading has failed; `rows` were read before."""
        if self.failure is not None:
            raise self._file.error(
                f"{self._file.path} cannot be read to its end: {str(self.failure) or type(self.failure).__name__} "
                f"(rows before that: {rows})",
                "replace the file with a complete one",
                offset=rows,
            ) from self.failure

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._stream is not None and self._stream is not self._handle:
            self._stream.close()
        self._handle.close()

    def _read_some(self, size: int) -> bytes:
        if self._compression == "none":
            return cast("bytes", self._stream.read(size))
        if self._compression == "zst":
            return cast("bytes", self._stream.read(min(size, _ZSTD_READ)))
        return cast("bytes", self._stream.read1(size))


def decompressed(handle: pa.NativeFile, compression: Compression) -> Any:
    """A file object over the decompressed bytes. Raises what the decompressor raises."""
    match compression:
        case "none":
            return handle
        case "gz":
            return gzip.GzipFile(fileobj=cast("io.BufferedIOBase", handle), mode="rb")
        case "bz2":
            return bz2.BZ2File(handle)
        case "xz":
            return lzma.LZMAFile(handle)
        case "zst":
            import pyarrow as pa

            return pa.CompressedInputStream(handle, "zstd")
        case "zip":
            archive = zipfile.ZipFile(handle)
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) != 1:
                raise ValueError(f"the archive holds {len(members)} files; one was expected")
            return archive.open(members[0])
