"""kill -9 of a run that trains with PyTorch and embedding tables: it ends byte-identical to one that was not killed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from fault_jobs import TORCH, check_same_end, tables, write_job
from fault_runs import ANY, Aim, Workplace

pytestmark = [pytest.mark.faults, pytest.mark.slow]

#: One after the other in one run directory.
AIMS = [
    Aim("snapshot: being taken"),
    Aim("checkpoint: writing the executor's files", 2),
    Aim("snapshot: half of its files written"),
    Aim("checkpoint: writing a table"),
    Aim("checkpoint: all files, no manifest"),
    Aim("recovery: removing predictions"),
    Aim("checkpoint: manifest written, not named"),
    Aim("checkpoint: between manifest and commit"),
    Aim("restore: reading a part", 3),
    Aim("recovery: metrics.jsonl is cut"),
    Aim("source: commit"),
    Aim("executor: train", 150),
    Aim("retention: files go", 2),
    Aim("report: the last one"),
]
#: Numbers of phases and seconds, chosen once; where they hit depends on what the machine does meanwhile.
PHASES = (320, 200, 90, 25)
SECONDS = (0.02, 0.15, 0.08, 0.2)


def job_in(folder: Path, data: Path) -> Path:
    folder.mkdir()
    source = {"name": "staged-files", "path": [str(data / "*")], "batch_rows": 700, "ledger": str(folder / "ledger")}
    return write_job(folder / "job.yaml", data, folder / "run", datasource=source, **TORCH)


@pytest.fixture(scope="module")
def jobs(workplace: Workplace, data: Path) -> Iterator[dict[str, Future[Path]]]:
    """Name → job, once its run has ended: not interrupted, killed where it was aimed at, killed at random.

    Most of the time of a life is importing PyTorch, so two of them live at a time.
    """

    def uninterrupted(job: Path) -> Path:
        workplace.penrose("run", job).check()
        return job

    def aimed(job: Path) -> Path:
        for aim in AIMS:
            assert workplace.kill_at("torch", aim, "run", job) == aim.phase
        return uninterrupted(job)

    def at_random(job: Path) -> Path:
        for count in PHASES:
            workplace.kill_at("torch", Aim(ANY, count), "run", job)
        for seconds in SECONDS:
            workplace.kill_after("torch", seconds, "run", job)
        return uninterrupted(job)

    folder = workplace.folder / "torch"
    folder.mkdir()
    runs = (aimed, at_random, uninterrupted)
    with ThreadPoolExecutor(2) as pool:
        yield {run.__name__: pool.submit(run, job_in(folder / run.__name__, data)) for run in runs}


@pytest.mark.parametrize("killed", ["at_random", "aimed"])
def test_a_run_that_was_killed_ends_in_the_same_bytes(jobs: dict[str, Future[Path]], killed: str) -> None:
    one, other = jobs["uninterrupted"].result(), jobs[killed].result()
    check_same_end(one.parent / "run", other.parent / "run")
    assert tables(one) == tables(other)


def test_the_tables_lie_in_pieces(jobs: dict[str, Future[Path]]) -> None:
    """What the tests above are worth: checkpoints with deltas, whose base is in an earlier one, were killed."""
    folders = [job.result().parent / "run" for job in jobs.values()]
    pieces = {path.name for run in folders for path in run.glob("checkpoints/*/chief-0/tables/*/*")}
    assert len(pieces) > 1
