"""Durable files and folders: a draft is written, synced and given its name; all of it is there, or nothing.

Everything here raises OSError. Callers say what that means for them: `storage.write_errors` for files of a run.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penrose_host.contracts.snapshots import Buffer

__all__ = [
    "atomic_file",
    "atomic_folder",
    "digest_file",
    "make_folder",
    "sync_folder",
    "write_atomic",
    "write_file",
]


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give the path of a draft to be written; on leaving, the draft is synced and takes the name `path`.

    Where anything fails, here or in the block, what `path` named before stays, and no draft is left.
    """
    draft = path.with_name(path.name + ".tmp")
    try:
        yield draft
        _sync_file(draft)
        draft.replace(path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):  # where it failed: half a file takes space that is missed
            draft.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give an empty draft of a folder to be filled; on leaving, the draft is synced and replaces `folder`.

    Where anything fails, here or in the block, what `folder` held before stays, and no draft is left. A process that
    is killed while the two change places leaves the old one beside it; the next call puts that back.
    """
    draft, before = (folder.with_name(f".{folder.name}.{what}") for what in ("draft", "before"))
    try:
        _tidy(folder, draft, before)
        make_folder(draft)
        yield draft
        _sync_tree(draft)
        if folder.exists():
            folder.rename(before)
        draft.rename(folder)
        sync_folder(folder.parent)
    finally:
        _tidy(folder, draft, before)


def write_atomic(path: Path, data: Buffer) -> None:
    """Write a file that is either wholly there, durably, or as it was before."""
    with atomic_file(path) as draft:
        draft.write_bytes(data)


def write_file(path: Path, data: Buffer | Iterable[Buffer]) -> tuple[int, str]:
    """Write and sync a new file, and make its folder; returns its length in bytes and its SHA-256 digest.

    Its name is durable only after `sync_folder`: who writes many files syncs each folder once.
    """
    digest = sha256()
    length = 0
    pieces = (data,) if isinstance(data, bytes | bytearray | memoryview) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
            length += piece.nbytes if isinstance(piece, memoryview) else len(piece)
        file.flush()
        os.fsync(file.fileno())
    return length, digest.hexdigest()


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, durably."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # what a file system answers that keeps no names back
            raise
    finally:
        os.close(handle)


def digest_file(path: Path) -> tuple[int, str]:
    """Length in bytes and SHA-256 digest of a file."""
    digest = sha256()
    length = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            length += len(piece)
    return length, digest.hexdigest()


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_symlink():
            continue
        if path.is_dir():
            sync_folder(path)
        elif path.is_file():
            _sync_file(path)
    sync_folder(folder)


def _tidy(folder: Path, draft: Path, before: Path) -> None:
    """Leave one folder, the last that was complete, whatever ended this call or an earlier one."""
    if before.exists() and not folder.exists():
        before.rename(folder)
    for left in (draft, before):
        shutil.rmtree(left, ignore_errors=True)
