"""A small disk of its own for some processes: a tmpfs in a mount namespace, where the machine lets us have one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SmallDisk", "small_disk"]


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """`inside`: its folder, for processes started with `prefix`; `outside`: the same folder, for everybody else."""

    inside: Path
    outside: Path
    prefix: tuple[str, ...]

    def fill(self, leave: int) -> None:
        """Take all space but so many bytes."""
        free = os.statvfs(self.outside)
        size = free.f_bavail * free.f_frsize - leave
        (self.outside / "filler").write_bytes(bytes(size))

    def free(self) -> None:
        """Give the space back."""
        (self.outside / "filler").unlink()


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk | None]:
    """A disk of `size` bytes mounted at `folder`; None where this machine allows no mount namespaces."""
    folder.mkdir(parents=True, exist_ok=True)
    script = f'mount -t tmpfs -o size={size} tmpfs "$0" && echo mounted && exec cat'
    try:
        holder = subprocess.Popen(
            ["unshare", "-rm", "sh", "-c", script, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        yield None
        return
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        if holder.stdout.readline() != b"mounted\n":
            yield None
            return
        enter = ("nsenter", "-t", str(holder.pid), "-U", "-m", "--preserve-credentials", "--")
        yield SmallDisk(folder, Path(f"/proc/{holder.pid}/root{folder}"), enter)
    finally:
        holder.stdin.close()
        holder.wait(timeout=30)
        holder.stdout.close()
