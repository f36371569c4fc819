"""At what pace rows are published: event time runs a number of times as fast as the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Int64

__all__ = ["Pace"]

#: Rows may come so many seconds late, so that those of a fast stream go in batches.
TICK = 0.01
#: Nobody sleeps longer without looking up.
LONGEST = 0.1


class Pace:
    """Knows when rows are due, from the first one on; a replay that fell behind catches up as fast as it can."""

    def __init__(
        self,
        speed: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`speed`: seconds of event time in one second. `clock`: seconds; `sleep`: waits so many of them."""
        self._speed = speed
        self._clock = clock
        self._sleep = sleep
        self._start: tuple[float, int] | None = None

    def due(self, times: Int64) -> int:
        """How many of the next rows are due; `times` (ascending): their event times in microseconds."""
        if self._start is None:
            self._start = self._clock(), int(times[0])
        began, first = self._start
        elapsed = (self._clock() - began) * self._speed * 1e6
        return int(np.searchsorted(times - float(first), elapsed, side="right"))

    def wait(self, time: int) -> None:
        """Sleep for a moment, not past when a row of this event time is due by more than a tick."""
        assert self._start is not None, "nothing was asked to be due"
        began, first = self._start
        seconds = began + (time - first) / 1e6 / self._speed - self._clock()
        self._sleep(min(max(seconds, TICK), LONGEST))
