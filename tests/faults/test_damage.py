"""Damaged files: refused by name, by the run and by `penrose checkpoints`, with a way out; and nothing made worse."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fault_jobs import TORCH, check_same_end, tables, write_job
from fault_runs import Aim, Ended, Workplace

from penrose_host.checkpoints import CheckpointStore
from penrose_host.errors import CheckpointDamaged

pytestmark = pytest.mark.faults

OFTEN = {"rows": 2000, "seconds": None, "keep": 9}


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def deleted(path: Path) -> None:
    path.unlink()


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def contents(folder: Path) -> dict[str, str]:
    """Path → digest of every file there, but for what every process writes that looks at the run."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("lock", "job.yaml"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def learned(workplace: Workplace, data: Path) -> Path:
    """A job with PyTorch and a table, stopped three times: its last checkpoint builds on files of earlier ones."""
    job = write_job(workplace.folder / "damaged.yaml", data, workplace.folder / "damaged", checkpoint=OFTEN, **TORCH)
    for rows in (4000, 8000, 12000):
        workplace.penrose("run", job, "--until", f"rows={rows}").check()
    return job


@pytest.mark.slow
def test_every_file_of_a_checkpoint(workplace: Workplace, tmp_path: Path, learned: Path) -> None:
    run_dir = workplace.folder / "damaged"
    latest = CheckpointStore(run_dir / "checkpoints").latest()
    assert latest is not None
    files = [f"{ref.checkpoint}/{ref.path}" for ref in latest.manifest.files.values()]
    files.append(f"{latest.manifest.id}/manifest.json")
    # What the test is worth: state, tables with their base in an earlier checkpoint, rows that wait, the fragment.
    assert {Path(file).name for file in files} > {"state.safetensors", "waiting.arrow", "host.json", "fragment.json"}
    assert len({file.split("/")[0] for file in files}) > 1

    def attempt(harm: Callable[[Path], None], file: str) -> tuple[str, Ended, Ended]:
        place = tmp_path / f"{harm.__name__}-{file.replace('/', '-')}"
        shutil.copytree(run_dir, place)
        harm(place / "checkpoints" / file)
        before = contents(place)
        run = workplace.penrose("run", learned, "--run-dir", place)
        verify = workplace.penrose("checkpoints", "verify", place)
        assert contents(place) == before
        return file, run, verify

    with ThreadPoolExecutor(2) as pool:
        attempts = [pool.submit(attempt, harm, file) for harm in (truncated, deleted, flipped) for file in files]
        for file, run, verify in (attempt.result() for attempt in attempts):
            for ended in (run, verify):
                ended.check(6)
                assert file in ended.stderr.splitlines()[0], ended.stderr
                assert "--resume-from" in ended.stderr


@pytest.mark.slow
def test_an_older_checkpoint_can_be_picked_and_ends_the_same(
    workplace: Workplace, tmp_path: Path, data: Path, learned: Path
) -> None:
    whole = write_job(tmp_path / "whole.yaml", data, tmp_path / "whole", checkpoint=OFTEN, **TORCH)
    with ThreadPoolExecutor(2) as pool:
        uninterrupted = pool.submit(workplace.penrose, "run", whole)
        run_dir = tmp_path / "run"
        shutil.copytree(workplace.folder / "damaged", run_dir)
        ids = CheckpointStore(run_dir / "checkpoints").ids()
        flipped(run_dir / "checkpoints" / ids[-1] / "manifest.json")
        listed = workplace.penrose("checkpoints", "list", run_dir).check(6).stdout
        assert [line.split()[0] for line in listed.splitlines()[1:]] == list(ids)
        assert f"{ids[-1]}  damaged" in listed
        job = write_job(tmp_path / "job.yaml", data, run_dir, checkpoint=OFTEN, **TORCH)
        workplace.penrose("run", job, "--resume-from", ids[0]).check()
        uninterrupted.result().check()
    check_same_end(run_dir, tmp_path / "whole")
    assert tables(job) == tables(whole)


# -- without PyTorch: what is beside the checkpoints ---------------------------------------------------


@pytest.fixture(scope="module")
def half_way(workplace: Workplace, data: Path) -> Path:
    job = write_job(workplace.folder / "half-way.yaml", data, workplace.folder / "half-way", checkpoint=OFTEN)
    for rows in (4000, 8000, 12000):
        workplace.penrose("run", job, "--until", f"rows={rows}").check()
    return workplace.folder / "half-way"


@pytest.fixture
def stopped(tmp_path: Path, half_way: Path, data: Path) -> Path:
    """A job that was stopped three times, in a run directory `run` of its own."""
    shutil.copytree(half_way, tmp_path / "run")
    return write_job(tmp_path / "job.yaml", data, tmp_path / "run", checkpoint=OFTEN)


@pytest.mark.parametrize("name", ["metrics.jsonl", "predictions/part-000000.parquet"])
@pytest.mark.parametrize("resume_from", [None, 1], ids=["newest", "older"])
def test_a_lost_file_of_the_run_is_named_and_nothing_is_given_up_for_it(
    workplace: Workplace, tmp_path: Path, stopped: Path, name: str, resume_from: int | None
) -> None:
    ids = CheckpointStore(tmp_path / "run" / "checkpoints").ids()
    older = () if resume_from is None else ("--resume-from", ids[resume_from])
    path = tmp_path / "run" / name
    data = path.read_bytes()
    path.unlink()
    before = contents(tmp_path / "run")
    ended = workplace.penrose("run", stopped, *older).check(6)
    assert str(path) in ended.stderr
    assert contents(tmp_path / "run") == before
    # Put back, it goes on where it would have gone on.
    path.write_bytes(data)
    assert f"resumed from checkpoint {ids[-1]}" in workplace.penrose("run", stopped).check().stderr


@pytest.mark.parametrize("flag", ["--fresh", "--resume-from"])
def test_a_start_that_fails_leaves_every_checkpoint_as_it_was(
    workplace: Workplace, tmp_path: Path, stopped: Path, flag: str
) -> None:
    ids = CheckpointStore(tmp_path / "run" / "checkpoints").ids()
    arguments = [flag] if flag == "--fresh" else [flag, ids[0]]
    before = contents(tmp_path / "run")
    elsewhere = f"datasource.path={tmp_path}/*.parquet"
    workplace.penrose("run", stopped, "-o", elsewhere, *arguments).check(4)
    assert contents(tmp_path / "run") == before
    assert f"resumed from checkpoint {ids[-1]}" in workplace.penrose("run", stopped).check().stderr


def test_a_checkpoint_that_was_left_behind_is_not_gone_back_to(
    workplace: Workplace, tmp_path: Path, stopped: Path
) -> None:
    """Its predictions and metrics were cut: there is nothing whole to go on from."""
    ids = CheckpointStore(tmp_path / "run" / "checkpoints").ids()
    workplace.kill_at("going back", Aim("recovery: metrics.jsonl is cut"), "run", stopped, "--resume-from", ids[0])
    left_behind = workplace.penrose("run", stopped, "--resume-from", ids[-1]).check(6)
    assert f"checkpoint {ids[-1]} of" in left_behind.stderr
    assert "left behind" in left_behind.stderr
    assert f"resumed from checkpoint {ids[0]}" in workplace.penrose("run", stopped).check().stderr


@pytest.mark.parametrize("name", ["LATEST", "epochs/00000002.json"])
def test_a_changed_history_is_refused_or_means_the_same(tmp_path: Path, stopped: Path, name: str) -> None:
    root = tmp_path / "run" / "checkpoints"
    original = (root / name).read_bytes()
    newest = CheckpointStore(root).ids()[-1]
    refused = 0
    for place in range(len(original)):
        for bits in (0x01, 0x02, 0x10, 0x80, 0xFF):
            data = bytearray(original)
            data[place] ^= bits
            (root / name).write_bytes(data)
            try:
                latest = CheckpointStore(root).latest()
            except CheckpointDamaged:
                refused += 1
            else:
                assert latest is not None
                assert latest.manifest.id == newest
    assert refused > len(original)


@pytest.mark.parametrize("name", ["LATEST", "epochs/00000002.json"])
def test_a_cut_history_is_refused(workplace: Workplace, tmp_path: Path, stopped: Path, name: str) -> None:
    path = tmp_path / "run" / "checkpoints" / name
    path.write_bytes(path.read_bytes()[:5])
    assert str(path) in workplace.penrose("run", stopped).check(6).stderr.splitlines()[0]


def test_a_lost_epoch_is_noticed(workplace: Workplace, tmp_path: Path, stopped: Path) -> None:
    (tmp_path / "run" / "checkpoints" / "epochs" / "00000002.json").unlink()
    assert "00000002.json is gone" in workplace.penrose("run", stopped).check(6).stderr
