"""Memory stays where it is: on an endless stream, and under a flood of bad rows."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import psutil
import pytest
from fault_jobs import reports, write_job
from fault_runs import PATIENCE, Aim, Life, Workplace

pytestmark = pytest.mark.faults

MB = 1 << 20
#: Of an endless stream; the first million fills what is going to be filled: waiting rows, queues, windows, heaps.
ROWS = 5_000_000
CLICKS = {
    "features": {
        "event_time": "event_time",
        "categorical": ["user", "item"],
        "lists": [{"column": "history"}],
        "numeric": ["price"],
        "labels": ["click"],
        "known_at": "click_known_at",
    },
    "datasource": {"name": "clickstream"},
    "executor": {"name": "counting", "rows": 0},
    "micro_batch": {"rows": 1024, "event_time": None},
    "report": {"rows": ROWS // 100},
    "checkpoint": {"rows": ROWS // 20, "seconds": None, "keep": 2},
}


def peak(life: Life) -> int:
    """The most memory that the process has had so far, in bytes."""
    status = Path(f"/proc/{life.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@pytest.mark.slow
def test_an_endless_stream_takes_no_more_memory_as_it_goes_on(workplace: Workplace, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.yaml", tmp_path, tmp_path / "run", **CLICKS)
    sizes: list[int] = []
    with workplace.start("run", job, "--until", f"rows={ROWS}", listen="report") as life:
        process = psutil.Process(life.process.pid)
        while len(sizes) < 99:
            assert life.hear(PATIENCE)
            sizes += [process.memory_info().rss] * (len(life.phases) - len(sizes))
        life.end().check()
    # Medians: a checkpoint that is being written takes 50 MB for a moment, and which report sees it is chance.
    early, late = median(sizes[20:50]), median(sizes[-30:])
    assert late < early + 40 * MB, [size // MB for size in sizes]
    lines = reports(tmp_path / "run")
    waiting = [line["waiting_rows"] for line in lines]
    assert max(waiting[-10:]) < 1.2 * max(waiting[20:30])
    # What does grow is on disk.
    assert len(lines) > 99
    assert len(list((tmp_path / "run" / "checkpoints").glob("*/manifest.json"))) == 2


@pytest.mark.parametrize("policy", ["skip", "dead-letter"])
def test_a_flood_of_bad_rows_takes_no_memory(workplace: Workplace, tmp_path: Path, policy: str) -> None:
    """They come behind a good row that has to wait for the rows of another file, and cannot be counted before it."""

    def measured(name: str, count: int) -> int:
        data = tmp_path / f"data-{name}"
        data.mkdir()
        header = "row,ts,clicked\n"
        (data / "a.csv").write_text(header + "0,2024-01-02 00:00:00,1\n" + "good for nothing\n" * count)
        good = (f"{row},2024-01-01 00:{row // 60:02}:{row % 60:02},1\n" for row in range(1, 3600))
        (data / "b.csv").write_text(header + "".join(good))
        job = write_job(
            tmp_path / f"{name}.yaml",
            data,
            tmp_path / name,
            features={"event_time": "ts", "numeric": ["row"], "labels": ["clicked"]},
            executor={"name": "counting", "rows": 3600},
            bad_rows=policy,
        )
        with workplace.start("run", job, aim=Aim("report: the last one")) as life:
            assert life.until(bool)
            size = peak(life)
            life.release()
            life.end().check()
        assert reports(tmp_path / name)[-1]["bad_rows"] == count
        assert reports(tmp_path / name)[-1]["rows"] == 3600
        return size

    assert measured("flood", 300_000) < measured("drops", 6) + 60 * MB
