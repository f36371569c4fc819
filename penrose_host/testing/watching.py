"""Watches what this process does and holds: files, sockets, processes, threads, unpickling."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Held", "touched", "unpickled"]

_OUTSIDE = (
    "open",
    "os.listdir",
    "os.mkdir",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.scandir",
    "os.system",
    "socket.bind",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
)
#: Files that are read to import a module.
_CODE = (".py", ".pyc", ".so", ".pth")

_lock = threading.Lock()
_watchers: list[tuple[int, tuple[str, ...], list[str]]] = []
_installed = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    for thread, events, seen in _watchers:
        if event in events and thread == threading.get_ident():
            first = arguments[0] if arguments else ""
            what = first if isinstance(first, str) else repr(first)
            if not (event == "open" and what.endswith(_CODE)):
                seen.append(f"{event} {what}".strip())


@contextmanager
def _watch(events: tuple[str, ...]) -> Iterator[list[str]]:
    global _installed
    with _lock:
        if not _installed:
            # An audit hook stays for the life of the process: one for all, which does nothing between watches.
            sys.addaudithook(_audit)
            _installed = True
    watcher = (threading.get_ident(), events, list[str]())
    _watchers.append(watcher)
    try:
        yield watcher[2]
    finally:
        _watchers.remove(watcher)


@contextmanager
def touched() -> Iterator[list[str]]:
    """What this thread does to files, sockets and processes inside the block, each in words."""
    with _watch(_OUTSIDE) as seen:
        yield seen


@contextmanager
def unpickled() -> Iterator[list[str]]:
    """The modules whose classes this thread unpickles inside the block."""
    with _watch(("pickle.find_class",)) as seen:
        yield seen


class Held:
    """The open files and the threads of this process at one moment."""

    def __init__(self) -> None:
        self._files = dict(_open_files())
        self._threads = set(threading.enumerate())

    def more(self, patience: float = 0.0) -> list[str]:
        """What has been added since and is still there, in words; threads get `patience` seconds to end."""
        threads = [thread for thread in threading.enumerate() if thread not in self._threads]
        for thread in threads:
            thread.join(patience)
        files = [target for number, target in _open_files() if self._files.get(number) != target]
        return [f"the file {target}" for target in files] + [
            f"the thread {thread.name}" for thread in threads if thread.is_alive()
        ]


def _open_files() -> Iterator[tuple[str, str]]:
    """Descriptor → what it is open on; nothing where the system does not tell."""
    folder = "/proc/self/fd"
    if not Path(folder).is_dir():
        return
    for number in os.listdir(folder):  # noqa: PTH208 - one of them is this listing itself, and gone by now
        try:
            yield number, os.readlink(f"{folder}/{number}")  # noqa: PTH115 - as above
        except OSError:
            continue
