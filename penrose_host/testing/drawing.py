"""Checks for drawn examples: the same ones in every run, and of those that fail the smallest is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Flaky
from hypothesis.strategies import SearchStrategy

__all__ = ["for_all"]


def for_all(examples: int, /, **drawn: SearchStrategy[Any]) -> Callable[[Callable[..., None]], None]:
    """Run the decorated check at once, for so many examples of its arguments."""

    def run(check: Callable[..., None]) -> None:
        bounded = settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            print_blob=False,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )
        try:
            bounded(given(**drawn)(check))()
        except Flaky as flaky:
            # The same example failed, and then did not: the failure is what counts.
            raise getattr(flaky, "exceptions", (flaky,))[0] from None

    return run
