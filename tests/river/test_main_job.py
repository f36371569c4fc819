"""The main job, run as a person runs it, with another executor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penrose_host.checkpoints import CheckpointStore
from penrose_host.contracts.cluster import Role

JOB = Path(__file__).parents[2] / "contrib/penrose-flights/job.yaml"
CLI = "import sys; from penrose_host.cli import main; sys.exit(main())"


def run(run_dir: Path, *flags: str, hash_seed: int = 0) -> dict[str, Any]:
    """The last line of the run's metrics."""
    command = [sys.executable, "-W", "error", "-c", CLI, "run", str(JOB), "--executor", "river"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PENROSE_")}
    done = subprocess.run(
        [*command, "--run-dir", str(run_dir), *flags],
        env={**clean, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    last: dict[str, Any] = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    return last


def state(run_dir: Path) -> dict[str, bytes]:
    checkpoint = CheckpointStore(run_dir / "checkpoints").latest()
    assert checkpoint is not None
    reader = checkpoint.reader(Role.CHIEF, 0, "executor")
    return {name: reader.read(name) for name in reader.names()}


@pytest.mark.slow
@pytest.mark.parametrize("embedding", [(), ("--embedding", "none")])
def test_the_main_job_learns_with_river(tmp_path: Path, embedding: tuple[str, ...]) -> None:
    last = run(tmp_path / "run", "-o", "datasource.rows=25000", *embedding)
    assert last["rows"] == last["trained_rows"] == 25_000
    assert last["auc"] > 0.68
    assert last["log_loss"] < 0.52


@pytest.mark.slow
@pytest.mark.parametrize("model", ["logistic", "hoeffding-tree"])
def test_a_stopped_run_ends_like_a_straight_one_in_another_process(tmp_path: Path, model: str) -> None:
    flags = ("-o", "datasource.rows=6000", "-o", f"executor.model={model}")
    straight = run(tmp_path / "straight", *flags, hash_seed=1)
    run(tmp_path / "stopped", *flags, "--until", "rows=2500", hash_seed=2)
    stopped = run(tmp_path / "stopped", *flags, hash_seed=3)
    assert straight["auc"] > 0.52
    assert {key: straight[key] for key in ("rows", "auc", "log_loss", "loss")} == {
        key: stopped[key] for key in ("rows", "auc", "log_loss", "loss")
    }
    assert state(tmp_path / "straight") == state(tmp_path / "stopped")
