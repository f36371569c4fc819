"""Durable files: written, synced, named; and what a failure says."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from penrose_host.contracts.snapshots import Buffer
from penrose_host.errors import CheckpointError

__all__ = ["digest_file", "hint_of", "sync_folder", "write_atomic", "write_file"]


def write_file(path: Path, data: Buffer | Iterable[Buffer]) -> tuple[int, str]:
    """Write and sync a new file; returns its length in bytes and its SHA-256 digest. Raises CheckpointError."""
    digest = sha256()
    length = 0
    pieces = (data,) if isinstance(data, bytes | bytearray | memoryview) else data
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for piece in pieces:
                digest.update(piece)
                file.write(piece)
                length += piece.nbytes if isinstance(piece, memoryview) else len(piece)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise write_failed(path, error) from error
    return length, digest.hexdigest()


def write_atomic(path: Path, data: Buffer) -> None:
    """Write a file that is either wholly there, durably, or not at all. Raises CheckpointError."""
    draft = path.with_name(path.name + ".tmp")
    try:
        write_file(draft, data)
        draft.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise write_failed(path, error) from error
    finally:
        with suppress(OSError):  # where it failed: half a file takes space that is missed
            draft.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest_file(path: Path) -> tuple[int, str]:
    """Length in bytes and SHA-256 digest of a file. Raises OSError."""
    digest = sha256()
    length = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            length += len(piece)
    return length, digest.hexdigest()


def write_failed(path: Path, error: OSError) -> CheckpointError:
    """What to raise where `path` could not be written."""
    return CheckpointError(f"cannot write {path}: {error.strerror or error}", path=path, hint=hint_of(error))


def hint_of(error: OSError) -> str:
    """What to do about a file of a run that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full: free some space and start the same command again; it resumes from the last checkpoint"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "make the folder writable, or choose another with --run-dir"
    return "when this is mended, start the same command again; it resumes from the last checkpoint"
