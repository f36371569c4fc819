"""What a run says where one of its files cannot be written."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penrose_host.errors import CheckpointError, RunDirectoryError

__all__ = ["write_errors"]


@contextmanager
def write_errors(
    kind: type[CheckpointError] | type[RunDirectoryError], path: Path, *, doing: str = "write"
) -> Iterator[None]:
    """Raise what the system refuses in the block as `kind`: `doing` what to `path` failed, why, and what to do."""
    try:
        yield
    except OSError as error:
        raise kind(f"cannot {doing} {path}: {error.strerror or error}", path=path, hint=_hint(error)) from error


def _hint(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full: free some space and start the same command again; it resumes from the last checkpoint"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "make the folder writable, or choose another with --run-dir"
    return "when this is mended, start the same command again; it resumes from the last checkpoint"
