"""The run directory: one run at a time, and it must be writable."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penrose_host.errors import RunDirectoryError
from penrose_host.storage.durable_files import make_folder
from penrose_host.storage.write_errors import write_errors

__all__ = ["locked"]


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Hold the run directory for this process; made where it is missing. Raises RunDirectoryError.

    The lock is the kernel's, on `lock` in there: it ends with the process, however that ends.
    """
    try:
        make_folder(run_dir)
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
        with write_errors(RunDirectoryError, run_dir / "lock"):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
