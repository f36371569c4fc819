"""What may happen to a run directory: read-only, in use, removed or replaced under a running process."""

from __future__ import annotations

import hashlib
import shutil
import signal
from pathlib import Path

import pytest
from fault_jobs import check_same_end, reports, write_job
from fault_runs import Aim, Workplace

pytestmark = pytest.mark.faults


@pytest.fixture
def job(tmp_path: Path, data: Path) -> Path:
    return write_job(tmp_path / "job.yaml", data, tmp_path / "run")


@pytest.fixture(scope="module")
def half_way(workplace: Workplace, data: Path) -> Path:
    run_dir = workplace.folder / "to-be-protected"
    job = write_job(workplace.folder / "to-be-protected.yaml", data, run_dir)
    for rows in (5000, 9000):
        workplace.penrose("run", job, "--until", f"rows={rows}").check()
    return run_dir


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (".", 8),
        ("lock", 8),
        ("checkpoints", 6),
        ("checkpoints/epochs", 6),
        ("metrics.jsonl", 8),
        ("predictions", 8),
    ],
)
def test_a_run_directory_that_is_read_only(
    workplace: Workplace, tmp_path: Path, job: Path, half_way: Path, name: str, code: int
) -> None:
    shutil.copytree(half_way, tmp_path / "run")
    path = tmp_path / "run" / name
    mode = path.stat().st_mode
    path.chmod(0o555 if path.is_dir() else 0o444)
    ended = workplace.penrose("run", job, FAULT_NO_OVERRIDE="1").check(code)
    path.chmod(mode)
    error = ended.stderr.splitlines()[-2]
    assert error.startswith("error: cannot ")
    assert str(tmp_path / "run") in error
    assert "ermission denied" in error
    assert "--run-dir" in ended.stderr.splitlines()[-1]
    # Made writable again, it goes on.
    workplace.penrose("run", job).check()
    assert reports(tmp_path / "run")[-1]["final"]


def test_a_second_process_is_refused_until_the_first_has_gone(workplace: Workplace, tmp_path: Path, job: Path) -> None:
    with workplace.start("run", job, aim=Aim("executor: train", 50)) as life:
        assert life.until(bool)
        refused = workplace.penrose("run", job).check(8)
        assert refused.stderr.startswith(f"error: the run directory {tmp_path / 'run'} is in use by another run")
        assert f"process {life.process.pid}" in refused.stderr
        life.end(signal.SIGKILL)
    workplace.penrose("run", job).check()


def test_a_run_directory_that_is_removed_ends_the_run(workplace: Workplace, tmp_path: Path, job: Path) -> None:
    with workplace.start("run", job, aim=Aim("executor: predict", 3)) as life:
        assert life.until(bool)
        shutil.rmtree(tmp_path / "run")
        life.release()
        ended = life.end().check(6)
    assert "was removed or replaced under this process" in ended.stderr
    assert "start the run anew" in ended.stderr


@pytest.mark.parametrize("aim", [Aim("executor: predict", 3), Aim("checkpoint: its folder")], ids=lambda aim: aim.phase)
def test_a_run_directory_that_another_run_has_made_anew_is_left_alone(
    workplace: Workplace, tmp_path: Path, data: Path, job: Path, aim: Aim
) -> None:
    """Both are the first life of their run: it takes more than a number to tell them apart."""
    with workplace.start("run", job, aim=aim) as life:
        assert life.until(bool)
        shutil.rmtree(tmp_path / "run")
        workplace.penrose("run", job).check()
        before = contents(tmp_path / "run")
        life.release()
        life.end().check(6)
    after = contents(tmp_path / "run")
    assert {path: digest for path, digest in after.items() if path in before} == before
    # At most an unfinished checkpoint is left, which does not count, and goes when the next one is written.
    assert not [path for path in set(after) - set(before) if path.endswith("manifest.json")]
    workplace.penrose("run", job).check()
    assert contents(tmp_path / "run").keys() - after.keys() <= {"checkpoints/epochs/00000002.json"}


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("lock", "job.yaml"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_predictions_turned_off_for_a_while_are_not_lost(
    workplace: Workplace, tmp_path: Path, job: Path, half_way: Path
) -> None:
    shutil.copytree(half_way, tmp_path / "run")
    parts = {path.name: path.read_bytes() for path in (tmp_path / "run" / "predictions").iterdir()}
    workplace.penrose("run", job, "-o", "output.predictions=null", "--until", "rows=12000").check()
    workplace.penrose("run", job).check()
    now = {path.name: path.read_bytes() for path in (tmp_path / "run" / "predictions").iterdir()}
    assert now.items() > parts.items()


def test_the_directory_of_a_finished_run_is_not_touched_by_another_start(
    workplace: Workplace, tmp_path: Path, job: Path
) -> None:
    workplace.penrose("run", job).check()
    shutil.copytree(tmp_path / "run", tmp_path / "before")
    workplace.penrose("run", job).check()
    check_same_end(tmp_path / "run", tmp_path / "before")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (tmp_path / "before" / "metrics.jsonl").read_bytes()
