"""Which local files a pattern means, as a shell takes it: links to files and folders are followed.

`**` follows links as well, but comes to each folder once: a link that leads back is not gone into.
"""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["MAGIC", "NO_FILE", "local_files"]

#: What makes a part of a path a pattern.
MAGIC = re.compile(r"[*?\[]")
#: The size of what is there and is no file that can be read.
NO_FILE = -1


def local_files(pattern: str) -> dict[str, int]:
    """Path → size in bytes of each file that matches an absolute pattern; `NO_FILE` of what is not a regular file.

    Folders are none. Raises OSError for a folder that cannot be listed.
    """
    found: dict[str, int] = {}
    for path in _expand("/", [part for part in pattern.split("/") if part]):
        try:
            status = Path(path).stat()
        except FileNotFoundError:
            if posixpath.islink(path):
                found[path] = NO_FILE  # a link that leads nowhere
            continue  # else it was removed meanwhile
        if not stat.S_ISDIR(status.st_mode):
            found[path] = status.st_size if stat.S_ISREG(status.st_mode) else NO_FILE
    return found


def _expand(folder: str, parts: list[str]) -> Iterator[str]:
    """Paths below a folder that the parts of a pattern stand for."""
    part, rest = parts[0], parts[1:]
    if part == "**":
        for below in _folders(folder):
            yield from _expand(below, rest or ["*"])
    elif not MAGIC.search(part):
        path = posixpath.join(folder, part)
        if not rest:
            if posixpath.lexists(path):
                yield path
        elif posixpath.isdir(path):
            yield from _expand(path, rest)
    else:
        matches = re.compile(fnmatch.translate(part)).match
        for entry in _entries(folder):
            if matches(entry.name):
                if not rest:
                    yield entry.path
                elif entry.is_dir():
                    yield from _expand(entry.path, rest)


def _folders(folder: str) -> Iterator[str]:
    """The folder and all below it, each once; under its own name rather than a link's."""
    here = PurePosixPath(posixpath.realpath(folder))
    seen: set[str] = set()
    links = [folder]
    while links:
        # All without links first; what they lead to comes after, and only where nothing has come there.
        start = links.pop(0)
        leads_to = posixpath.realpath(start)
        if start != folder and here.is_relative_to(leads_to):
            continue
        waiting = [(start, leads_to)]
        while waiting:
            path, real = waiting.pop()
            if real in seen:
                continue
            seen.add(real)
            yield path
            for entry in _entries(path):
                if entry.is_symlink():
                    if entry.is_dir():
                        links.append(entry.path)
                elif entry.is_dir():
                    waiting.append((entry.path, posixpath.join(real, entry.name)))
        links.sort()


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder, by name; nothing where it was removed meanwhile."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
