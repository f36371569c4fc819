"""SIGINT and SIGTERM ask the run to end in good order; a second SIGINT ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopRequest", "stop_on_signals"]


class StopRequest:
    """Whether somebody asked for the end; call it to know. Programs may set it too."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def __call__(self) -> bool:
        return self._asked.is_set()

    def set(self) -> None:
        """Ask for the end: the micro-batch is finished and a checkpoint taken first."""
        self._asked.set()


@contextmanager
def stop_on_signals(stop: StopRequest) -> Iterator[None]:
    """Let signals set `stop`, where this is the main thread; elsewhere signals are not ours to take."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
