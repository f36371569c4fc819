"""kill -9 of a run with native tables, admission, eviction and deltas: it ends like one that was not killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from fault_jobs import TFPLUS, check_same_end, tables
from fault_kills import killed_runs
from fault_runs import Aim, Workplace

pytestmark = [pytest.mark.faults, pytest.mark.slow]

#: One after the other in one run directory, the most telling first.
AIMS = [
    Aim("checkpoint: writing a delta"),
    Aim("checkpoint: all files, no manifest", 2),
    Aim("restore: reading a part", 4),
    Aim("checkpoint: between manifest and commit", 2),
    Aim("checkpoint: writing a table", 2),
    Aim("snapshot: being taken", 2),
    Aim("checkpoint: writing a delta", 2),
    Aim("executor: train", 70),
    Aim("checkpoint: writing a delta", 3),
    Aim("retention: files go", 3),
    Aim("checkpoint: manifest written, not named"),
    Aim("retention: a folder goes"),
    Aim("report: the last one"),
]


@pytest.fixture(scope="module")
def jobs(workplace: Workplace, data: Path) -> Iterator[dict[str, Future[list[Path]]]]:
    with killed_runs(workplace, data, "tfplus", TFPLUS, AIMS) as runs:
        yield runs


@pytest.mark.parametrize("killed", ["at_random", "aimed"])
def test_a_run_that_was_killed_ends_with_the_same_tables(jobs: dict[str, Future[list[Path]]], killed: str) -> None:
    """Their keys, rows, slots, counts and times, what waits for admission, counters; all else in the same bytes."""
    [one] = jobs["uninterrupted"].result()
    for other in jobs[killed].result():
        check_same_end(one.parent / "run", other.parent / "run")
        assert tables(one) == tables(other)


def test_rows_were_admitted_and_evicted(jobs: dict[str, Future[list[Path]]]) -> None:
    """What the test above is worth: there was something to get wrong."""
    [job] = jobs["uninterrupted"].result()
    for table in tables(job).values():
        assert len(table["keys"]) > 8 * 100
        assert len(table["candidates"]) > 8 * 100
        assert json.loads(table["counters"])["evicted"] > 100
