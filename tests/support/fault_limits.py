"""What a process under test may not do: grow a file, write past the end of a disk, write where it has no right to.

Nothing of the host is replaced: the kernel refuses. `impose` is called in that process, by `fault_stage`.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import sys
from pathlib import Path
from typing import Any

__all__ = ["impose"]

_CAP_DAC_OVERRIDE = 1 << 1
_CAPABILITY_VERSION_3 = 0x20080522


def impose() -> None:
    """FAULT_FULL, a pattern: files whose path matches it are on a full disk, once. FAULT_FILE_BYTES: no file may be
    longer. FAULT_NO_OVERRIDE: permissions hold, for the superuser too."""
    if limit := os.environ.get("FAULT_FILE_BYTES"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    if os.environ.get("FAULT_NO_OVERRIDE"):
        _drop_override()
    if pattern := os.environ.get("FAULT_FULL"):
        _fill(re.compile(f".*{pattern}"))


def _fill(pattern: re.Pattern[str]) -> None:
    """What is opened to be written under such a path becomes /dev/full just before: writing there finds no space."""
    done = False

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        if done or event not in ("open", "os.mkdir") or not isinstance(arguments[0], str | os.PathLike):
            return
        path = Path(arguments[0])
        if event == "os.mkdir":
            # Arrow opens the predictions without an audit event; a checkpoint's folder is made just before.
            if not re.fullmatch(r"\d{8}-e\d+", path.name):
                return
            folder = path.parent.parent / "predictions"
            path = folder / f"part-{len(list(folder.glob('part-*'))):06d}.parquet.tmp"
        elif not isinstance(arguments[1], str) or arguments[1][0] not in "wx":
            return
        if pattern.fullmatch(str(path)) and path.parent.is_dir():
            done = True
            path.symlink_to("/dev/full")

    sys.addaudithook(audit)


def _drop_override() -> None:
    """Give up the superuser's right to write where the permissions say no."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the same for the higher capabilities
    for call in (libc.capget, libc.capset):
        if call is libc.capset:
            sets[0] &= ~_CAP_DAC_OVERRIDE
            sets[1] &= ~_CAP_DAC_OVERRIDE
        if call(header, sets) != 0:
            raise OSError(ctypes.get_errno(), "capset")
