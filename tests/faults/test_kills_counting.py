"""kill -9 anywhere, many times in one run directory: every row is scored once and trained once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from fault_jobs import FILES, ROWS, check_same_end, predictions, reports, state, write_job
from fault_kills import kill_one_by_one, numbered
from fault_runs import ANY, Aim, Workplace
from fault_stage import PHASES

from penrose_host.checkpoints import CheckpointStore

pytestmark = pytest.mark.faults

#: In this order every one of them comes: what is retired or cut has to be there first.
AIMS = [
    Aim("source: open"),
    Aim("executor: predict", 3),
    Aim("recovery: claiming an epoch"),
    Aim("checkpoint: its folder"),
    Aim("snapshot: being taken"),
    Aim("checkpoint: writing the trainer's files"),
    Aim("snapshot: half of its files written"),
    Aim("checkpoint: writing host.json"),
    Aim("checkpoint: naming the predictions"),
    Aim("recovery: removing predictions"),
    Aim("checkpoint: writing the fragment"),
    Aim("checkpoint: all files, no manifest"),
    Aim("checkpoint: manifest written, not named"),
    Aim("checkpoint: between manifest and commit"),
    Aim("restore: reading the manifest"),
    Aim("restore: reading a part", 2),
    Aim("restore: the executor"),
    Aim("checkpoint: LATEST written, not named"),
    Aim("recovery: an epoch is claimed"),
    Aim("recovery: cutting metrics.jsonl"),
    Aim("recovery: metrics.jsonl is cut"),
    Aim("checkpoint: told"),
    Aim("source: commit"),
    Aim("report", 3),
    Aim("executor: train", 70),
    Aim("retention: the manifest goes"),
    Aim("retention: files go"),
    Aim("retention: files go", 3),
    Aim("retention: a folder goes"),
    Aim("checkpoint: writing the executor's files", 2),
    Aim("report: the last one"),
]


def check_every_row_once(run_dir: Path) -> None:
    rows = predictions(run_dir)
    assert rows.num_rows == ROWS * len(FILES)
    assert rows.group_by(["_partition", "_offset"]).aggregate([]).num_rows == ROWS * len(FILES)
    counts = np.frombuffer(state(run_dir)["executor/counts.bin"], dtype=np.int32)
    labelled = rows.num_rows - rows["label"].null_count
    assert counts.max() == 1
    assert counts.sum() == labelled
    last = reports(run_dir)[-1]
    assert (last["final"], last["rows"], last["trained_rows"]) == (True, ROWS * len(FILES), labelled)
    assert pc.max(rows["_offset"]).as_py() == ROWS - 1


@pytest.fixture(scope="module")
def uninterrupted(workplace: Workplace, data: Path) -> Path:
    run_dir = workplace.folder / "counted"
    workplace.penrose("run", write_job(workplace.folder / "counted.yaml", data, run_dir)).check()
    check_every_row_once(run_dir)
    return run_dir


def job_in(folder: Path, data: Path, **changes: Any) -> Path:
    source = {"name": "staged-files", "path": [str(data / "*")], "batch_rows": 700, "ledger": str(folder / "ledger")}
    return write_job(folder / "job.yaml", data, folder / "run", **{"datasource": source, **changes})


def check_checkpoints(job: Path) -> None:
    """Whenever the process died: what counts as a checkpoint is whole."""
    store = CheckpointStore(job.parent / "run" / "checkpoints")
    for id in store.ids():
        store.verify(id)


def test_killed_in_every_phase_one_after_the_other(
    workplace: Workplace, tmp_path: Path, data: Path, uninterrupted: Path
) -> None:
    jobs = (job_in(folder, data) for folder in numbered(tmp_path))
    for job in kill_one_by_one(workplace, "counting", AIMS, jobs, check_checkpoints):
        check_every_row_once(job.parent / "run")
        check_same_end(job.parent / "run", uninterrupted)


def test_the_aims_are_all_phases_that_the_host_can_be_seen_in() -> None:
    # Runs with PyTorch have tables.
    assert set(PHASES) - {aim.phase for aim in AIMS} == {"checkpoint: writing a table", "checkpoint: writing a delta"}


def test_killed_at_random(workplace: Workplace, tmp_path: Path, data: Path, uninterrupted: Path) -> None:
    job = job_in(tmp_path, data)
    for count in (344, 212, 98, 35, 11):
        workplace.kill_at("counting", Aim(ANY, count), "run", job)
    for seconds in (0.01, 0.12, 0.04, 0.07, 0.02):
        workplace.kill_after("counting", seconds, "run", job)
    workplace.penrose("run", job).check()
    check_every_row_once(tmp_path / "run")
    check_same_end(tmp_path / "run", uninterrupted)


def test_rows_taken_as_they_arrive_count_once_too(workplace: Workplace, tmp_path: Path, data: Path) -> None:
    jobs = (job_in(folder, data, order="arrival") for folder in numbered(tmp_path))
    aims = (
        Aim("executor: train", 40),
        Aim("checkpoint: between manifest and commit"),
        Aim("snapshot: being taken"),
        Aim("checkpoint: all files, no manifest"),
        Aim("recovery: removing predictions"),
        Aim(ANY, 200),
        Aim("report: the last one"),
    )
    for job in kill_one_by_one(workplace, "arrival", aims, jobs, check_checkpoints):
        check_every_row_once(job.parent / "run")


@pytest.mark.parametrize(
    "aim",
    [
        Aim("restore: the executor"),
        Aim("recovery: claiming an epoch"),
        Aim("recovery: an epoch is claimed"),
        Aim("recovery: cutting metrics.jsonl"),
        Aim("recovery: metrics.jsonl is cut"),
        Aim("recovery: removing predictions"),
        Aim("checkpoint: its folder"),
    ],
    ids=lambda aim: aim.phase,
)
def test_killed_while_it_goes_back_to_an_older_checkpoint(
    workplace: Workplace, tmp_path: Path, stopped: Path, uninterrupted: Path, aim: Aim, data: Path
) -> None:
    """Before the run is taken over the newest checkpoint counts, afterwards the older one; both end the same."""
    shutil.copytree(stopped, tmp_path / "run")
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    older, newest = store.ids()[0], store.ids()[-1]
    assert older != newest
    # Without the ledger: going back is what a broker that forgets does not allow.
    job = write_job(tmp_path / "job.yaml", data, tmp_path / "run")
    workplace.kill_at("going back", aim, "run", job, "--resume-from", older)
    latest = CheckpointStore(tmp_path / "run" / "checkpoints").latest()
    assert latest is not None
    claimed = aim.phase not in ("restore: the executor", "recovery: claiming an epoch")
    assert latest.manifest.id == (older if claimed else newest)
    workplace.penrose("run", job).check()
    check_same_end(tmp_path / "run", uninterrupted)


@pytest.fixture(scope="module")
def stopped(workplace: Workplace, data: Path) -> Path:
    """A run that was stopped half-way, with several checkpoints, parts of predictions, and a line behind the last."""
    run_dir = workplace.folder / "stopped"
    often = {"rows": 1000, "seconds": None, "keep": 9}
    job = write_job(workplace.folder / "stopped.yaml", data, run_dir, checkpoint=often)
    for rows in (5000, 10000, 15000):
        workplace.penrose("run", job, "--until", f"rows={rows}").check()
    return run_dir
