"""Bad rows, and steps whose loss is not finite, are counted exactly, however often the run is killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_jobs import FILES, ROWS, check_same_end, letters, make_files, predictions, reports, state, write_job
from fault_kills import kill_one_by_one, numbered
from fault_runs import Aim, Workplace

pytestmark = pytest.mark.faults

BAD_EVERY = 9
#: In each of the two CSV files.
BAD_LINES = -(-ROWS // BAD_EVERY) + 3


@pytest.fixture(scope="module")
def spoiled(workplace: Workplace) -> Path:
    return make_files(workplace.folder / "spoiled", bad_every=BAD_EVERY)


def counted(run_dir: Path) -> np.ndarray[Any, Any]:
    return np.frombuffer(state(run_dir)["executor/counts.bin"], dtype=np.int32)


@pytest.mark.parametrize("policy", ["skip", "dead-letter"])
def test_bad_rows(workplace: Workplace, tmp_path: Path, spoiled: Path, policy: str) -> None:
    # Small reads: the places where what has arrived ends move with every life of the run.
    source = {"name": "staged-files", "path": [str(spoiled / "*")], "batch_rows": 111}
    changes = {"datasource": source, "bad_rows": policy, "report": {"rows": 400}}
    jobs = (write_job(folder / "job.yaml", spoiled, folder / "run", **changes) for folder in numbered(tmp_path))
    aims = (
        Aim("executor: train", 9),
        Aim("checkpoint: between manifest and commit"),
        Aim("source: read", 9),
        Aim("report", 4),
        Aim("recovery: metrics.jsonl is cut"),
        Aim("checkpoint: writing the fragment"),
        Aim("report: the last one"),
    )
    killed = kill_one_by_one(workplace, "bad rows", aims, jobs)
    whole = write_job(tmp_path / "whole.yaml", spoiled, tmp_path / "whole", **changes)
    workplace.penrose("run", whole).check()
    for job in killed:
        check_same_end(job.parent / "run", tmp_path / "whole")
    run_dir = killed[-1].parent / "run"
    last = reports(run_dir)[-1]
    assert (last["rows"], last["bad_rows"]) == (ROWS * len(FILES), 2 * BAD_LINES)
    assert last["position"] == {name: ROWS + (BAD_LINES if name.endswith(".csv") else 0) for name in FILES}
    assert set(counted(run_dir).tolist()) == {0, 1}
    if policy == "dead-letter":
        found = letters(run_dir)
        assert found == letters(tmp_path / "whole")
        assert len(found) == 2 * BAD_LINES
        assert {letter[0] for letter in found} == {"b.csv", "d.csv"}


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_steps_that_are_not_finite(workplace: Workplace, tmp_path: Path, data: Path, policy: str) -> None:
    broken = {"name": "counting", "rows": ROWS * len(FILES), "broken_steps": [5, 80, 81, 260]}
    changes = {"executor": broken, "non_finite": policy}
    jobs = (write_job(folder / "job.yaml", data, folder / "run", **changes) for folder in numbered(tmp_path))
    aims = (
        Aim("executor: train", 50),
        Aim("checkpoint: all files, no manifest"),
        Aim("recovery: an epoch is claimed"),
        Aim("executor: train", 60),
        Aim("checkpoint: between manifest and commit"),
        Aim("report: the last one"),
    )
    killed = kill_one_by_one(workplace, "non-finite", aims, jobs)
    whole = write_job(tmp_path / "whole.yaml", data, tmp_path / "whole", **(changes | {"non_finite": "skip"}))
    workplace.penrose("run", whole).check()
    # Going back and leaving the step out ends as if it had been left out at once.
    for job in killed:
        check_same_end(job.parent / "run", tmp_path / "whole")
    run_dir = killed[-1].parent / "run"
    last = reports(run_dir)[-1]
    rows = predictions(run_dir)
    labelled = rows.num_rows - rows["label"].null_count
    assert 0 < last["skipped_rows"] <= 4 * 64
    assert last["trained_rows"] == labelled - last["skipped_rows"] == counted(run_dir).sum()
    assert counted(run_dir).max() == 1


def test_a_step_that_is_not_finite_stops_the_run_and_can_be_skipped_then(
    workplace: Workplace, tmp_path: Path, data: Path
) -> None:
    broken = {"name": "counting", "rows": ROWS * len(FILES), "broken_steps": [200]}
    job = write_job(tmp_path / "job.yaml", data, tmp_path / "run", executor=broken)
    for _ in range(2):
        ended = workplace.penrose("run", job).check(5)
        assert "the loss of step 200 is not finite (clicked=nan)" in ended.stderr
        assert "non_finite: skip" in ended.stderr
    workplace.penrose("run", job, "-o", "non_finite=skip").check()
    last = reports(tmp_path / "run")[-1]
    assert last["final"]
    assert 0 < last["skipped_rows"] <= 64
    assert counted(tmp_path / "run").max() == 1
