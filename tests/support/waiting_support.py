"""Waiting for what another process does, never for longer than is sensible."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 60.0


def wait_until(condition: Callable[[], object]) -> None:
    """Return once the condition holds; fail where it does not within a minute."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("what was waited for did not happen")
        time.sleep(0.01)
