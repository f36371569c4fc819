"""kill -9 of a run whose loop is Keras's, and pulls ahead: it ends byte-identical to one that was not killed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from fault_jobs import check_same_end
from fault_kills import killed_runs
from fault_runs import Aim, Workplace

pytestmark = [pytest.mark.faults, pytest.mark.slow]

#: A compiled model with dropout and embeddings of its own, behind a function that prefetches in two stages.
FIT = {
    "executor": {
        "name": "staged-tensorflow",
        "model": "keras_models:embeddings",
        "loop": "keras_models:prefetching",
        "width": 4,
    },
    "embedding": "none",
}
#: One after the other in one run directory; with the 8 at random 12 processes are killed.
AIMS = [
    Aim("executor: train", 20),
    Aim("checkpoint: all files, no manifest"),
    Aim("checkpoint: between manifest and commit"),
    Aim("restore: the executor"),
]


@pytest.fixture(scope="module")
def jobs(workplace: Workplace, data: Path) -> Iterator[dict[str, Future[list[Path]]]]:
    with killed_runs(workplace, data, "fit", FIT, AIMS) as runs:
        yield runs


@pytest.mark.parametrize("killed", ["at_random", "aimed"])
def test_a_run_that_was_killed_ends_in_the_same_bytes(jobs: dict[str, Future[list[Path]]], killed: str) -> None:
    [one] = jobs["uninterrupted"].result()
    for other in jobs[killed].result():
        check_same_end(one.parent / "run", other.parent / "run")
