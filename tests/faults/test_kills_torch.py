"""kill -9 of a run that trains with PyTorch and embedding tables: it ends byte-identical to one that was not killed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from fault_jobs import TORCH, check_same_end, tables
from fault_kills import killed_runs
from fault_runs import Aim, Workplace

pytestmark = [pytest.mark.faults, pytest.mark.slow]

#: One after the other in one run directory, the most telling first.
AIMS = [
    Aim("checkpoint: all files, no manifest", 2),
    Aim("recovery: removing predictions"),
    Aim("snapshot: half of its files written"),
    Aim("checkpoint: between manifest and commit"),
    Aim("snapshot: being taken"),
    Aim("checkpoint: writing the executor's files", 2),
    Aim("checkpoint: writing a table"),
    Aim("checkpoint: manifest written, not named"),
    Aim("restore: reading a part", 3),
    Aim("recovery: metrics.jsonl is cut"),
    Aim("source: commit"),
    Aim("executor: train", 150),
    Aim("retention: files go", 2),
    Aim("report: the last one"),
]


@pytest.fixture(scope="module")
def jobs(workplace: Workplace, data: Path) -> Iterator[dict[str, Future[list[Path]]]]:
    with killed_runs(workplace, data, "torch", TORCH, AIMS) as runs:
        yield runs


@pytest.mark.parametrize("killed", ["at_random", "aimed"])
def test_a_run_that_was_killed_ends_in_the_same_bytes(jobs: dict[str, Future[list[Path]]], killed: str) -> None:
    [one] = jobs["uninterrupted"].result()
    for other in jobs[killed].result():
        check_same_end(one.parent / "run", other.parent / "run")
        assert tables(one) == tables(other)


def test_the_tables_lie_in_pieces(jobs: dict[str, Future[list[Path]]]) -> None:
    """What the tests above are worth: checkpoints with deltas, whose base is in an earlier one, were killed."""
    folders = [job.parent / "run" for ended in jobs.values() for job in ended.result()]
    pieces = {path.name for run in folders for path in run.glob("checkpoints/*/chief-0/tables/*/*")}
    assert len(pieces) > 1
