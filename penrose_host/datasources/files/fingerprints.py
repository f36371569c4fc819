"""Fingerprints: what is kept of a file's content, to notice on resume that it has changed.

A fingerprint holds the size and digests of the first and the last 64 KiB. Of local files it also has the time of the
last change and a digest of what is between: all of it up to 1 MiB, 256 evenly spaced samples of 4 KiB of more.
That digest is compared where the time is another one; the time alone is no change, since copies have times of
their own. Rows that were appended to a text file leave its fingerprint true: a log that has grown is the same stream.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from penrose_host.errors import WrongStream

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pyarrow as pa

__all__ = ["Fingerprint", "Fingerprints", "take_fingerprint", "what_changed"]

SPAN = 64 << 10
SAMPLES, SAMPLE = 256, 4 << 10


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The first `size` bytes of a file; `rows` in them, where they have been read to their end.

    `changed`: when the file was written to last, in nanoseconds since 1970; `middle`: see above. None of remote files.
    `open_end`: the last row had no line end, so that it could go on in what is appended. Of a stream that is
    followed, one fingerprint is the `mark` (all files of earlier names have ended and are forgotten), and one holds the
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
    def from_text(cls, text: str) -> Fingerprint:
        """The fingerprint that `to_text` wrote. Raises ValueError, TypeError or KeyError where it is not one."""
        return cls(**json.loads(text))


class Fingerprints:
    """The fingerprints of a stream's files, as they go into checkpoints, and what of a followed stream goes with them.

    `texts`: partition → fingerprint as text. `mark`: see `Fingerprint`; None where there is none. `columns`: the
    inferred schema as text, which is kept with the first fingerprint that is set after it became known.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.mark: str | None = None
        self.columns: str | None = None
        self._columns_kept = False
        self._known: dict[str, Fingerprint] = {}

    def load(self, texts: Mapping[str, str]) -> dict[str, Fingerprint]:
        """The fingerprints that a checkpoint holds, to be compared, and set where they are true.

        Raises WrongStream where a text is none.
        """
        loaded: dict[str, Fingerprint] = {}
        for name, text in texts.items():
            try:
                found = loaded[name] = Fingerprint.from_text(text)
            except (ValueError, TypeError) as error:
                raise WrongStream(
                    f"the stamp of {name!r} is not one of the datasource files: {text!r}",
                    hint="name the datasource that the checkpoint is of, or start a new run in another run directory",
                ) from error
            if found.mark:
                self.mark = name
            if found.columns is not None:
                self.columns, self._columns_kept = found.columns, True
        return loaded

    def get(self, name: str) -> Fingerprint | None:
        return self._known.get(name)

    def names(self) -> Collection[str]:
        return self._known.keys()

    def set(self, name: str, fingerprint: Fingerprint) -> None:
        """What is true of this file now. What it says of the whole stream stays with it."""
        mark, columns = fingerprint.mark, fingerprint.columns
        if (known := self._known.get(name)) is not None:
            mark, columns = mark or known.mark, columns or known.columns
        if self.columns is not None and not self._columns_kept:
            columns, self._columns_kept = self.columns, True
        self._known[name] = replace(fingerprint, mark=mark, columns=columns)
        self.texts[name] = self._known[name].to_text()

    def forget(self, names: Collection[str], mark: str) -> None:
        """Keep nothing of these files, which all come before `mark`, but what they say of the whole stream."""
        columns = next((found.columns for name in names if (found := self.get(name)) and found.columns), None)
        fingerprint = self._known[mark]
        self.set(mark, replace(fingerprint, mark=True, columns=columns or fingerprint.columns))
        self.mark = mark
        for name in names:
            self._known.pop(name, None)
            self.texts.pop(name, None)


def take_fingerprint(handle: pa.NativeFile, size: int | None = None, changed: int | None = None) -> Fingerprint:
    """The fingerprint of the first `size` bytes (by default of all). Leaves the file at its start.

    `changed`: when a local file was written to last; without it the middle is not looked at.
    """
    if size is None:
        size = handle.size()
    head = _read(handle, 0, min(SPAN, size))
    tail = _read(handle, max(0, size - SPAN), size)
    middle = None if changed is None else _middle(handle, SPAN, size - SPAN)
    handle.seek(0)
    open_end = tail[-1:] not in (b"", b"\n")
    return Fingerprint(size, _digest(head), _digest(tail), open_end=open_end, middle=middle, changed=changed)


def what_changed(
    known: Fingerprint, handle: pa.NativeFile, *, may_grow: bool, changed: int | None = None
) -> tuple[str | None, Fingerprint]:
    """What has happened to the file since (None: nothing that matters), and the fingerprint that is true now.

    `changed`: when a local file was written to last.
    """
    size = handle.size()
    if size < known.size:
        return f"it had {known.size} bytes and now has {size}", known
    if size > known.size and not may_grow:
        return f"it had {known.size} bytes and now has {size}", known
    doubtful = known.middle is not None and changed != known.changed
    now = take_fingerprint(handle, known.size, changed if doubtful else None)
    if (now.head, now.tail) != (known.head, known.tail) or now.middle not in (None, known.middle):
        return f"its first {known.size} bytes are not what they were", known
    if now.middle is not None:
        known = replace(known, changed=changed)
    if size == known.size:
        return None, known
    if known.rows is not None and known.open_end and _read(handle, known.size, known.size + 1) not in (b"\n", b"\r"):
        return "its last row was read without a line end, and has been written on", known
    return None, replace(known, rows=None)


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
