"""Recognises pickles: they run code when they are read, so no checkpoint may hold one."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

__all__ = ["pickles_in"]


def pickles_in(files: Mapping[str, bytes]) -> list[str]:
    """The names of files that are pickles of protocol 2 or later, or zip files with one inside."""
    return [name for name, data in files.items() if _is_pickle(data)]


def _is_pickle(data: bytes) -> bool:
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and data.endswith(b"."):
        return True
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return False
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return any(_is_pickle(archive.read(name)) for name in archive.namelist())
