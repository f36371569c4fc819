"""The run directory: one run at a time, and it must be writable."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from penrose_host.errors import RunDirectoryError
from penrose_host.storage.durable_files import hint_of

__all__ = ["cannot_write", "keep", "locked"]


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the run directory for this process; made where it is missing. Raises RunDirectoryError.

    The lock is the kernel's, on `lock` in there: it ends with the process, however that ends.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunDirectoryError(
            f"cannot use the run directory {run_dir}: {error.strerror}",
            path=run_dir,
            hint="make it writable, or choose another with --run-dir",
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            raise RunDirectoryError(
                f"the run directory {run_dir} is in use by another run (process {owner})",
                path=run_dir,
                hint="wait for it or stop it, or choose another directory with --run-dir",
            ) from error
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise cannot_write(run_dir / "lock", error) from error
        yield
    finally:
        os.close(handle)


def keep(path: Path, text: str) -> None:
    """Write a small file of the run directory anew. Raises RunDirectoryError."""
    draft = path.with_name(path.name + ".tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> RunDirectoryError:
    """What to raise where a file of the run directory could not be written."""
    return RunDirectoryError(f"cannot write {path}: {error.strerror or error}", path=path, hint=hint_of(error))
