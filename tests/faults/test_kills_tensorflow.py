"""kill -9 of a run that trains with TensorFlow: it ends byte-identical to one that was not killed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from fault_jobs import TENSORFLOW, check_same_end, tables
from fault_kills import killed_runs
from fault_runs import ANY, Aim, Workplace

pytestmark = [pytest.mark.faults, pytest.mark.slow]

#: One after the other in one run directory, the most telling first; with all 8 at random 30 processes are killed.
AIMS = [
    Aim("checkpoint: all files, no manifest", 2),
    Aim("recovery: removing predictions"),
    Aim("snapshot: half of its files written"),
    Aim("checkpoint: between manifest and commit"),
    Aim("executor: train", 3),
    Aim("snapshot: being taken"),
    Aim("checkpoint: writing the executor's files", 2),
    Aim("checkpoint: writing a table"),
    Aim("checkpoint: its folder", 2),
    Aim("checkpoint: manifest written, not named"),
    Aim("restore: reading a part"),
    Aim("restore: reading a part", 3),
    Aim("recovery: claiming an epoch"),
    Aim("recovery: metrics.jsonl is cut"),
    Aim("source: commit"),
    Aim("executor: train", 40),
    Aim("checkpoint: writing the trainer's files", 2),
    Aim("retention: files go", 2),
    Aim("executor: train", 90),
    Aim(ANY, 150),
    Aim("checkpoint: between manifest and commit", 2),
    Aim("report: the last one"),
]


@pytest.fixture(scope="module")
def jobs(workplace: Workplace, data: Path) -> Iterator[dict[str, Future[list[Path]]]]:
    with killed_runs(workplace, data, "tensorflow", TENSORFLOW, AIMS) as runs:
        yield runs


@pytest.mark.parametrize("killed", ["at_random", "aimed"])
def test_a_run_that_was_killed_ends_in_the_same_bytes(jobs: dict[str, Future[list[Path]]], killed: str) -> None:
    [one] = jobs["uninterrupted"].result()
    for other in jobs[killed].result():
        check_same_end(one.parent / "run", other.parent / "run")
        assert tables(one) == tables(other)
