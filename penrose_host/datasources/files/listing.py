"""Which files a datasource reads: patterns are resolved to partitions, whose names depend on the patterns alone."""

from __future__ import annotations

import errno
import logging
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penrose_host.datasources.files.local_glob import MAGIC, NO_FILE, local_files
from penrose_host.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa
    from fsspec import AbstractFileSystem

__all__ = ["DataFile", "LeftOut", "list_files", "stable_pattern"]

_LOG = logging.getLogger("penrose.files")


@dataclass(frozen=True, slots=True)
class DataFile:
    """One partition: its name, where the file is, and how many bytes it had when it was listed (None: unknown)."""

    name: str
    path: str
    filesystem: AbstractFileSystem
    size: int | None = None

    @property
    def local(self) -> bool:
        return _is_local(self.filesystem)

    def changed(self) -> int | None:
        """When a local file was written to last, in nanoseconds since 1970; None of others, and once it was deleted."""
        try:
            return Path(self.path).stat().st_mtime_ns if self.local else None
        except FileNotFoundError:
            return None

    def open(self) -> pa.NativeFile:
        """The file's bytes, seekable. Raises SourceError."""
        import pyarrow as pa

        with self.access():
            if self.local:
                return pa.OSFile(self.path, "rb")
            return pa.PythonFile(self.filesystem.open(self.path, "rb"), mode="r")

    @contextmanager
    def access(self) -> Iterator[None]:
        """Whatever goes wrong inside is a SourceError that names the file."""
        try:
            yield
        except Exception as error:  # a remote file system raises what its client library raises
            raise self.error(f"cannot open {self.path}: {error}", _open_hint(error)) from error

    def error(self, message: str, hint: str | None, *, offset: int | None = None) -> SourceError:
        """What to raise about this file; `offset`: of the row that is to blame."""
        return SourceError(message, plugin="files", partition=self.name, offset=offset, hint=hint)


#: Why a file is left out.
_HIDDEN = "their names, or their folders', start with a dot or an underscore or end with ._COPYING_"
_READ_ALREADY = "links to files that are read under another name"


class LeftOut:
    """Files that a pattern matches and that are not read; each is told of once, in the log, by kind and number."""

    def __init__(self) -> None:
        # Of the last listing only: in a folder that is followed for ever, drafts come and go.
        self._known: dict[str, set[str]] = {}

    def tell(self, paths: Iterable[str], why: str) -> None:
        """Count those of a listing that the one before had not."""
        there = set(paths)
        new = sorted(there - self._known.get(why, set()))
        self._known[why] = there
        if new:
            files = "1 file is" if len(new) == 1 else f"{len(new):,} files are"
            _LOG.info("%s left out, %s: %s%s", files, why, new[0], ", …" if len(new) > 1 else "")


def stable_pattern(pattern: str) -> str:
    """The pattern as it names a stream: an absolute path, or a URL without user and password."""
    if "://" in pattern and not pattern.startswith("file://"):
        return re.sub(r"//[^/@]*@", "//", pattern)
    return posixpath.abspath(posixpath.expanduser(pattern.removeprefix("file://")))


def list_files(
    patterns: Sequence[str], storage_options: dict[str, Any], left_out: LeftOut, *, again: bool = False
) -> dict[str, DataFile]:
    """Partition name → file, in order of the names. Raises SourceError where a pattern matches nothing.

    A name is the path below the folder that all patterns have in common, before their first wildcard. `again`: files
    come and go, so that a pattern may match nothing, and nothing that was listed before counts; only a local folder
    that is not there is still an error. A local file that links give several names is read once.
    """
    places = [_place(pattern, storage_options) for pattern in patterns]
    if len({_protocols(filesystem) for filesystem, _ in places}) > 1:
        raise SourceError(
            "the paths are on different file systems", plugin="files", hint="give paths of one file system"
        )
    root = posixpath.commonpath([_fixed_folder(path) for _, path in places])
    files: dict[str, DataFile] = {}
    hidden: set[str] = set()
    try:
        for pattern, (filesystem, path) in zip(patterns, places, strict=True):
            if again:
                filesystem.invalidate_cache()
            may_lack = again and (not _is_local(filesystem) or filesystem.isdir(_fixed_folder(path)))
            for found, size in _matches(pattern, filesystem, path, may_lack, hidden).items():
                name = found[len(root) :].removeprefix("/")
                files[name] = DataFile(name, found, filesystem, size)
    finally:  # also where nothing else matches: it says why
        left_out.tell(hidden, _HIDDEN)
    others = _other_names(files)
    left_out.tell((files[name].path for name in others), _READ_ALREADY)
    return {name: files[name] for name in sorted(files.keys() - others)}


def _other_names(files: Mapping[str, DataFile]) -> set[str]:
    """Names of local files that are there under another name too: their own, or else the first."""
    places: dict[str, list[str]] = {}
    real = cache(posixpath.realpath)
    for name, file in sorted(files.items()):
        if file.local:
            folder, last = posixpath.split(file.path)
            place = real(file.path) if posixpath.islink(file.path) else posixpath.join(real(folder), last)
            places.setdefault(place, []).append(name)
    others: set[str] = set()
    for place, names in places.items():
        if len(names) > 1:
            kept = next((name for name in names if files[name].path == place), names[0])
            others.update(name for name in names if name != kept)
    return others


def _place(pattern: str, storage_options: dict[str, Any]) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs

    try:
        filesystem, path = url_to_fs(pattern, **storage_options)
    except ImportError as error:
        raise SourceError(f"cannot read {pattern}: {error}", plugin="files", hint="pip install that package") from error
    except Exception as error:  # chained URLs open other files, on any file system
        raise SourceError(f"cannot read {pattern}: {error}", plugin="files", hint=_where_hint(pattern)) from error
    return filesystem, path


def _protocols(filesystem: AbstractFileSystem) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _is_local(filesystem: AbstractFileSystem) -> bool:
    return "file" in _protocols(filesystem)


def _fixed_folder(path: str) -> str:
    """The folder before the first wildcard; the file's own folder where there is none."""
    magic = MAGIC.search(path)
    return posixpath.dirname(path[: magic.start()] if magic else path)


def _matches(
    pattern: str, filesystem: AbstractFileSystem, path: str, may_lack: bool, hidden: set[str]
) -> dict[str, int | None]:
    """Path → size in bytes (None: unknown) of each file that matches; those it does not stand for become `hidden`."""
    try:
        if not MAGIC.search(path) or filesystem.exists(path):
            info = filesystem.info(path)
            if info["type"] == "file" or (_is_local(filesystem) and Path(path).is_file()):
                return {path: info.get("size")}
            hint = f"to read the files in a folder, use a glob: {pattern.rstrip('/')}/*"
            raise SourceError(f"{path} is not a file but a {info['type']}", plugin="files", hint=hint)
        found = _glob(filesystem, path)
    except SourceError:
        raise
    except Exception as error:  # a remote file system raises what its client library raises
        missing = isinstance(error, FileNotFoundError)
        if missing and may_lack:
            return {}
        message = f"there is no file {path}" if missing else f"cannot list {path}: {error}"
        raise SourceError(message, plugin="files", hint=_where_hint(pattern)) from error
    hidden |= _hidden(found, path)
    found = {name: size for name, size in found.items() if name not in hidden}
    if not found and not may_lack:
        raise SourceError(f"no file matches {path}", plugin="files", hint=_where_hint(pattern))
    for name, size in found.items():
        if size == NO_FILE:
            raise SourceError(f"{name} is not a file that can be read", plugin="files", hint="narrow the option `path`")
    return found


def _glob(filesystem: AbstractFileSystem, path: str) -> dict[str, int | None]:
    """Path → size of what matches but folders; `NO_FILE` of what cannot be read."""
    if _is_local(filesystem):
        return dict(local_files(path))
    matches = filesystem.glob(path, detail=True)
    return {
        name: info.get("size") if info["type"] == "file" else NO_FILE
        for name, info in matches.items()
        if info["type"] != "directory"
    }


def _hidden(paths: Iterable[str], pattern: str) -> set[str]:
    """Those that a wildcard does not stand for: as in a shell, and by the custom of Hadoop, Spark and Hive.

    `_SUCCESS`, `_temporary/…` and the like tell of the data and are none; `_day=7/…` is a partition. A pattern that
    says such a name itself means it.
    """
    below = len(_fixed_folder(pattern))
    dots, underscores = ("/." not in pattern[below:]), ("/_" not in pattern[below:])

    def hides(part: str) -> bool:
        if part.startswith("."):
            return dots
        return underscores and (part.endswith("._COPYING_") or (part.startswith("_") and "=" not in part))

    return {path for path in paths if any(map(hides, path[below:].split("/")))}


def _where_hint(pattern: str) -> str:
    if "://" in pattern:
        return "check the option `path` of the datasource, and that you may list that place"
    return f"check the option `path` of the datasource (relative paths start at {Path.cwd()})"


def _open_hint(error: Exception) -> str | None:
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        return "an event-time merge keeps every file open: raise `ulimit -n`, or merge small files into larger ones"
    return None
