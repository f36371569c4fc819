"""`penrose_host.run` in the processes of a pool: results and errors come back."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import yaml

import penrose_host
from penrose_host import BadRow, RunResult


def run_job(path: Path) -> RunResult:
    return penrose_host.run(penrose_host.load(path))


def write_job(folder: Path, name: str, text: str) -> Path:
    (folder / f"{name}.csv").write_text(text)
    job = {
        "name": name,
        "datasource": {"name": "files", "path": str(folder / f"{name}.csv"), "column_types": {"y": "int64"}},
        "executor": {"name": "torch", "model": "logistic"},
        "embedding": {"name": "hashing", "rows": 64},
        "features": {"event_time": "ts", "categorical": ["user"], "labels": ["y"]},
        "run_dir": str(folder / name),
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def test_runs_in_a_pool_of_processes(tmp_path: Path) -> None:
    good = write_job(tmp_path, "good", "ts,user,y\n2024-01-01T00:00:00Z,a,1\n2024-01-01T00:00:01Z,b,0\n")
    bad = write_job(tmp_path, "bad", "ts,user,y\n2024-01-01T00:00:00Z,a,1\n2024-01-01T00:00:01Z,b,maybe\n")
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        done, failed = pool.submit(run_job, good), pool.submit(run_job, bad)
        result = done.result(timeout=120)
        assert (result.reason, result.rows) == ("end-of-stream", 2)
        assert result.position.offsets == {"good.csv": 2}
        with pytest.raises(BadRow, match="'maybe' is not int64") as raised:
            failed.result(timeout=120)
    assert (raised.value.partition, raised.value.offset) == ("bad.csv", 1)
