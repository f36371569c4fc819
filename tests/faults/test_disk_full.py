"""The disk fills up, wherever the host writes: a clear error, whole checkpoints, and the same command goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_disk import small_disk
from fault_jobs import FEATURES, check_same_end, letters, make_files, reports, state, write_job
from fault_runs import NOTES, Aim, Ended, Workplace

from penrose_host.checkpoints import CheckpointStore

pytestmark = pytest.mark.faults

FULL = "No space left on device"
HINT = "free some space"


def job_in(folder: Path, data: Path, run_dir: Path | None = None) -> Path:
    return write_job(
        folder / "job.yaml", data, run_dir or folder / "run", output={"predictions": "predictions", "export": "model"}
    )


@pytest.fixture(scope="module")
def uninterrupted(workplace: Workplace, data: Path) -> Path:
    (workplace.folder / "roomy").mkdir()
    workplace.penrose("run", job_in(workplace.folder / "roomy", data)).check()
    return workplace.folder / "roomy" / "run"


def check_error(ended: Ended, code: int, file: str, reason: str = FULL) -> None:
    ended.check(code)
    error = next(line for line in ended.stderr.splitlines() if line.startswith("error:"))
    assert file in error
    assert reason in error
    if reason == FULL:
        assert HINT in ended.stderr


def check_checkpoints(run_dir: Path) -> int:
    """All that count are whole; returns how many do."""
    store = CheckpointStore(run_dir / "checkpoints")
    for id in store.ids():
        store.verify(id)
    return len(store.ids())


#: Pattern of what is written → what the error names, and the exit status; in the order in which a run writes them.
FILES = {
    r"job\.yaml\.tmp": ("job.yaml", 8),
    r"epochs/claim-[^/]*\.tmp": ("epochs/claim-", 6),
    r"trainer/state\.json": ("trainer/state.json", 6),
    r"trainer/waiting\.arrow": ("trainer/waiting.arrow", 6),
    r"metrics/[^/]*": ("chief-0/metrics/", 6),
    r"executor/counts\.bin": ("executor/counts.bin", 6),
    r"host\.json": ("host.json", 6),
    r"part-[^/]*\.parquet\.tmp": ("predictions/part-", 8),
    r"fragment\.json": ("fragment.json", 6),
    r"manifest\.json\.tmp": ("manifest.json", 6),
    r"LATEST\.tmp": ("LATEST", 6),
    r"[^/]*model[^/]*/counts\.bin": ("run/model", 1),
}


def test_no_space_for_one_file_after_the_other(
    workplace: Workplace, tmp_path: Path, data: Path, uninterrupted: Path
) -> None:
    job = job_in(tmp_path, data)
    workplace.kill_at("disk full", Aim("checkpoint: told"), "run", job)
    count = check_checkpoints(tmp_path / "run")
    for file, (named, code) in FILES.items():
        check_error(workplace.penrose("run", job, FAULT_FULL=f"/{file}"), code, named)
        assert check_checkpoints(tmp_path / "run") >= count
    workplace.penrose("run", job).check()
    check_same_end(tmp_path / "run", uninterrupted)
    assert (tmp_path / "run" / "model" / "counts.bin").exists()
    assert not list((tmp_path / "run").rglob("*.tmp"))


@pytest.mark.parametrize("file", ["metrics.jsonl", "dead-letter.jsonl"])
def test_a_file_of_lines_that_cannot_grow(workplace: Workplace, tmp_path: Path, file: str) -> None:
    """The kernel's limit on the length of a file stands for the full disk: these are the files that grow."""
    data = make_files(tmp_path / "data", bad_every=4)
    changes = {
        # Labels that are known at once: no file but the one in question is long.
        "features": {name: value for name, value in FEATURES.items() if name != "known_at"},
        "report": {"rows": 50 if file == "metrics.jsonl" else 5000},
        "bad_rows": "dead-letter" if file == "dead-letter.jsonl" else "skip",
        "output": {},
    }
    job = write_job(tmp_path / "job.yaml", data, tmp_path / "run", **changes)
    ended = workplace.penrose("run", job, FAULT_FILE_BYTES="130000")
    check_error(ended, 8, file, "File too large")
    check_checkpoints(tmp_path / "run")
    workplace.penrose("run", job).check()
    whole = write_job(tmp_path / "whole.yaml", data, tmp_path / "whole", **changes)
    workplace.penrose("run", whole).check()
    assert state(tmp_path / "run") == state(tmp_path / "whole")
    assert reports(tmp_path / "run") == reports(tmp_path / "whole")
    if file == "dead-letter.jsonl":
        assert letters(tmp_path / "run") == letters(tmp_path / "whole")


def test_a_disk_that_is_full(workplace: Workplace, tmp_path: Path, data: Path, uninterrupted: Path) -> None:
    """A disk of 3 MB, filled to its last 200 kB while the run goes on; then freed."""
    with small_disk(tmp_path / "disk", 3 << 20) as disk:
        if disk is None:
            NOTES.append("no mount namespaces on this machine: what a full disk does was shown with /dev/full only")
            return
        job = job_in(tmp_path, data, disk.inside / "run")
        with workplace.start("run", job, aim=Aim("checkpoint: told", 1), prefix=disk.prefix) as life:
            assert life.until(bool)
            disk.fill(leave=200_000)
            life.release()
            ended = life.end()
        check_error(ended, ended.code, str(disk.inside))
        before = check_checkpoints(disk.outside / "run")
        assert before >= 1
        # Still full: the same again, and what could not be written does not pile up.
        for _ in range(3):
            again = workplace.penrose("run", job, prefix=disk.prefix)
            check_error(again, again.code, str(disk.inside))
            assert check_checkpoints(disk.outside / "run") >= before
        disk.free()
        workplace.penrose("run", job, prefix=disk.prefix).check()
        check_same_end(disk.outside / "run", uninterrupted)
