"""`dead-letter.jsonl`: every bad row, with the reason, once the run has come to it.

A bad row is met long before the rows in front of it are scored, and there may be any number of them. Until its
turn comes its dead letter is held, by partition, in a little memory and beyond that in an unnamed file.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile

from penrose_host.contracts.batch import Reject
from penrose_host.errors import RunDirectoryError
from penrose_host.outputs.lines import LinesFile
from penrose_host.storage.write_errors import write_errors

__all__ = ["DeadLetters", "read_dead_letter"]

#: Bytes of a partition's dead letters that are held in memory; and how many dead letters are moved at a time.
HELD_BYTES = 256 << 10
AT_ONCE = 1024


class DeadLetters:
    """The file, and what is held for it. Where the job wants no dead letters, nothing is kept and the file is empty."""

    def __init__(self, path: Path, length: int = 0, *, wanted: bool = True) -> None:
        """Go on behind the first `length` bytes; nothing is changed before `cut`. Raises CheckpointDamaged."""
        self._lines = LinesFile(path, length)
        self._wanted = wanted
        self._held: dict[str, _PartitionQueue] = {}

    @property
    def length(self) -> int:
        """Bytes of the file: what a checkpoint remembers of it."""
        return self._lines.length

    def cut(self) -> None:
        """Cut off what the checkpoint does not know of. Raises RunDirectoryError."""
        self._lines.cut()

    def hold(self, rejects: Iterable[Reject]) -> None:
        """Bad rows that were met, and come behind those of their partition that are held. Raises RunDirectoryError."""
        if not self._wanted:
            return
        with write_errors(RunDirectoryError, self._lines.path):
            for reject in sorted(rejects, key=lambda reject: reject.offset):
                if reject.partition not in self._held:
                    self._held[reject.partition] = _PartitionQueue(self._lines.path.parent)
                self._held[reject.partition].add(_line(reject))

    def release(self, settled: Iterable[tuple[str, int]]) -> None:
        """The run has come to the first so many bad rows of these partitions. Raises RunDirectoryError."""
        if not self._wanted:
            return
        for partition, count in settled:
            held = self._held[partition]
            with write_errors(RunDirectoryError, self._lines.path):
                for _ in range(0, count, AT_ONCE):
                    self._lines.write(held.take(min(AT_ONCE, count)))
                    count -= AT_ONCE
            if held.count == 0:
                self._held.pop(partition).close()

    def sync(self) -> None:
        """Make the file durable. Raises RunDirectoryError."""
        self._lines.sync()

    def close(self) -> None:
        """May be called twice."""
        self._lines.close()
        for held in self._held.values():
            held.close()


class _PartitionQueue:
    """The dead letters of one partition that are held: lines, first in, first out."""

    def __init__(self, folder: Path) -> None:
        self.count = 0
        self._folder = folder
        self._read = 0
        self._size = 0
        self._file = _spool(folder)

    def add(self, line: bytes) -> None:
        self._file.seek(self._size)
        self._file.write(line)
        self._size += len(line)
        self.count += 1

    def take(self, count: int) -> bytes:
        """The next `count` lines."""
        self._file.seek(self._read)
        lines = b"".join(islice(self._file, count))
        self._read += len(lines)
        self.count -= count
        if self.count and self._read > self._size // 2 > HELD_BYTES // 2:
            self._shrink()
        return lines

    def close(self) -> None:
        self._file.close()

    def _shrink(self) -> None:
        """Begin a new file with what is left: it would grow for ever otherwise."""
        old, self._file = self._file, _spool(self._folder)
        old.seek(self._read)
        while data := old.read(1 << 20):
            self._file.write(data)
        old.close()
        self._read, self._size = 0, self._size - self._read


def _spool(folder: Path) -> SpooledTemporaryFile[bytes]:
    return SpooledTemporaryFile(max_size=HELD_BYTES, dir=str(folder))


def read_dead_letter(line: bytes) -> Reject:
    """The bad row that a line of the file tells of, with its bytes as they were."""
    fields = json.loads(line)
    raw = base64.b64decode(fields["raw_base64"]) if "raw_base64" in fields else fields["raw"].encode()
    return Reject(fields["partition"], fields["offset"], fields["reason"], raw)


def _line(reject: Reject) -> bytes:
    fields: dict[str, str | int] = {
        "partition": reject.partition,
        "offset": reject.offset,
        "reason": reject.reason,
        "raw": (text := reject.raw.decode("utf-8", "backslashreplace")),
    }
    if text.encode() != reject.raw:
        fields["raw_base64"] = base64.b64encode(reject.raw).decode()
    return json.dumps(fields, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
