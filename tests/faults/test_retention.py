"""Old checkpoints that cannot be removed: the run goes on, says so, and removes them when it can."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_jobs import TORCH, check_same_end, tables, write_job
from fault_runs import Aim, Workplace

from penrose_host.checkpoints import CheckpointStore

pytestmark = pytest.mark.faults


def test_an_old_checkpoint_that_cannot_be_removed_ends_no_run(workplace: Workplace, tmp_path: Path, data: Path) -> None:
    whole = write_job(tmp_path / "whole.yaml", data, tmp_path / "whole", **TORCH)
    workplace.penrose("run", whole).check()
    job = write_job(tmp_path / "job.yaml", data, tmp_path / "run", **TORCH)
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    half = ("--until", "rows=8000")
    with workplace.start("run", job, *half, aim=Aim("checkpoint: told", 1), FAULT_NO_OVERRIDE="1") as life:
        assert life.until(bool)
        folder = store.root / store.ids()[0]
        (folder / "chief-0").chmod(0o500)
        life.release()
        ended = life.end().check()
    told = [line for line in ended.stderr.splitlines() if f"cannot remove the old checkpoint {folder}" in line]
    assert len(told) == 1, ended.stderr
    assert "ermission denied" in told[0]
    # What could be removed was: it is no checkpoint any more, and those after it went as ever.
    assert folder.name not in store.ids()
    assert len(store.ids()) == 2
    assert (folder / "chief-0" / "host.json").exists()
    (folder / "chief-0").chmod(0o700)
    assert "cannot remove" not in workplace.penrose("run", job).check().stderr
    assert not (folder / "chief-0" / "host.json").exists()
    check_same_end(tmp_path / "run", tmp_path / "whole")
    assert tables(job) == tables(whole)
