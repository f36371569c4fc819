"""Stamps: what is kept of a file's content, to notice on resume that it has changed.

A stamp holds the size and digests of the first and the last 64 KiB. Of local files it also has the time of the
last change and a digest of what is between: all of it up to 1 MiB, 256 evenly spaced samples of 4 KiB of more.
That digest is compared where the time is another one; the time alone is no change, since copies have times of
their own. Rows that were appended to a text file leave its stamp true: a log that has grown is the same stream.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Stamp", "take_stamp", "what_changed"]

SPAN = 64 << 10
SAMPLES, SAMPLE = 256, 4 << 10


@dataclass(frozen=True, slots=True)
class Stamp:
    """The first `size` bytes of a file; `rows` in them, where they have been read to their end.

    `changed`: when the file was written to last, in nanoseconds since 1970; `middle`: see above. None of remote files.
    `open_end`: the last row had no line end, so that it could go on in what is appended. Of a stream that is
    followed, one stamp is the `mark` (all files of earlier names have ended and are forgotten), and one holds the
    `columns` that were inferred when the stream began: a schema, as Arrow IPC in base64.
    """

    size: int
    head: str
    tail: str
    rows: int | None = None
    open_end: bool = False
    mark: bool = False
    columns: str | None = None
    middle: str | None = None
    changed: int | None = None

    def to_text(self) -> str:
        known = {name: value for name, value in asdict(self).items() if value is not None and value is not False}
        return json.dumps(known, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Stamp:
        """The stamp that `to_text` wrote. Raises ValueError, TypeError or KeyError where it is not one."""
        return cls(**json.loads(text))


def take_stamp(handle: pa.NativeFile, size: int | None = None, changed: int | None = None) -> Stamp:
    """The stamp of the first `size` bytes (by default of all). Leaves the file at its start.

    `changed`: when a local file was written to last; without it the middle is not looked at.
    """
    if size is None:
        size = handle.size()
    head = _read(handle, 0, min(SPAN, size))
    tail = _read(handle, max(0, size - SPAN), size)
    middle = None if changed is None else _middle(handle, SPAN, size - SPAN)
    handle.seek(0)
    open_end = tail[-1:] not in (b"", b"\n")
    return Stamp(size, _digest(head), _digest(tail), open_end=open_end, middle=middle, changed=changed)


def what_changed(
    stamp: Stamp, handle: pa.NativeFile, *, may_grow: bool, changed: int | None = None
) -> tuple[str | None, Stamp]:
    """What has happened to the file since (None: nothing that matters), and the stamp that is true now.

    `changed`: when a local file was written to last.
    """
    size = handle.size()
    if size < stamp.size:
        return f"it had {stamp.size} bytes and now has {size}", stamp
    if size > stamp.size and not may_grow:
        return f"it had {stamp.size} bytes and now has {size}", stamp
    doubtful = stamp.middle is not None and changed != stamp.changed
    now = take_stamp(handle, stamp.size, changed if doubtful else None)
    if (now.head, now.tail) != (stamp.head, stamp.tail) or now.middle not in (None, stamp.middle):
        return f"its first {stamp.size} bytes are not what they were", stamp
    if now.middle is not None:
        stamp = replace(stamp, changed=changed)
    if size == stamp.size:
        return None, stamp
    if stamp.rows is not None and stamp.open_end and _read(handle, stamp.size, stamp.size + 1) not in (b"\n", b"\r"):
        return "its last row was read without a line end, and has been written on", stamp
    return None, replace(stamp, rows=None)


def _middle(handle: pa.NativeFile, start: int, stop: int) -> str:
    """Digest of the bytes between, or of samples of them."""
    if stop - start <= SAMPLES * SAMPLE:
        return _digest(_read(handle, start, max(start, stop)))
    step = (stop - start - SAMPLE) / (SAMPLES - 1)
    places = (start + int(number * step) for number in range(SAMPLES))
    return _digest(b"".join(_read(handle, place, place + SAMPLE) for place in places))


def _read(handle: pa.NativeFile, start: int, stop: int) -> bytes:
    handle.seek(start)
    data: bytes = handle.read(stop - start)
    return data


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
