"""SIGINT and SIGTERM at any moment: the run ends in good order, and goes on as if it had not been stopped."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from fault_jobs import check_same_end, reports, write_job
from fault_runs import Aim, Life, Workplace

from penrose_host.checkpoints import CheckpointStore

pytestmark = pytest.mark.faults

#: Where the signal finds the process; one after the other in one run directory.
AIMS = [
    Aim("recovery: claiming an epoch"),
    Aim("source: open"),
    Aim("executor: predict", 20),
    Aim("snapshot: being taken"),
    Aim("recovery: metrics.jsonl is cut"),
    Aim("executor: train", 33),
    Aim("report"),
    Aim("restore: the executor"),
    Aim("executor: predict", 41),
]


@pytest.fixture(scope="module")
def uninterrupted(workplace: Workplace, data: Path) -> Path:
    run_dir = workplace.folder / "unsignalled"
    workplace.penrose("run", write_job(workplace.folder / "unsignalled.yaml", data, run_dir)).check()
    return run_dir


@pytest.fixture
def job(tmp_path: Path, data: Path) -> Path:
    return write_job(tmp_path / "job.yaml", data, tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_stopped_again_and_again_ends_like_one_that_was_not(
    workplace: Workplace, tmp_path: Path, job: Path, uninterrupted: Path, number: signal.Signals
) -> None:
    for aim in AIMS:
        with workplace.start("run", job, aim=aim) as life:
            assert life.until(bool)
            life.process.send_signal(number)
            life.release()
            ended = life.end().check()
        assert "stopped by a signal" in ended.stderr
        latest = CheckpointStore(tmp_path / "run" / "checkpoints").latest()
        assert latest is not None
        # The line of a stop tells of the instant that the checkpoint holds.
        assert reports(tmp_path / "run")[-1]["rows"] == latest.manifest.rows
    workplace.penrose("run", job).check()
    check_same_end(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize(
    "aim",
    [Aim("executor: train", 90), Aim("checkpoint: writing the fragment"), Aim("source: read", 2)],
    ids=lambda aim: aim.phase,
)
def test_a_second_interrupt_ends_at_once_whatever_hangs(
    workplace: Workplace, tmp_path: Path, job: Path, uninterrupted: Path, aim: Aim
) -> None:
    with workplace.start("run", job, aim=aim) as life:
        assert life.until(bool)
        life.process.send_signal(signal.SIGINT)
        check_still_there(life)
        ended = life.end(signal.SIGINT).check(130)
    assert "interrupted" in ended.stderr
    workplace.penrose("run", job).check()
    check_same_end(tmp_path / "run", uninterrupted)


def test_a_second_sigterm_waits_like_the_first(workplace: Workplace, tmp_path: Path, job: Path) -> None:
    with workplace.start("run", job, aim=Aim("executor: predict")) as life:
        assert life.until(bool)
        for _ in range(2):
            life.process.send_signal(signal.SIGTERM)
            check_still_there(life)
        assert not (tmp_path / "run" / "checkpoints" / "LATEST").exists()


def check_still_there(life: Life) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        life.process.wait(timeout=0.5)


def test_a_stop_before_the_first_row_leaves_a_checkpoint_too(workplace: Workplace, tmp_path: Path, job: Path) -> None:
    with workplace.start("run", job, aim=Aim("source: open")) as life:
        assert life.until(bool)
        life.process.send_signal(signal.SIGTERM)
        check_still_there(life)
        life.release()
        life.end().check()
    latest = CheckpointStore(tmp_path / "run" / "checkpoints").latest()
    assert latest is not None
    assert latest.manifest.rows == reports(tmp_path / "run")[-1]["rows"] == 0
