"""One job three times: not interrupted, killed where it was aimed at, killed at random."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fault_jobs import write_job
from fault_runs import ANY, Aim, Workplace

__all__ = ["killed_runs"]

#: Numbers of phases and seconds, chosen once; where they hit depends on what the machine does meanwhile.
PHASES = (320, 200, 90, 25)
SECONDS = (0.02, 0.15, 0.08, 0.2)


@contextmanager
def killed_runs(
    workplace: Workplace, data: Path, suite: str, sections: Mapping[str, Any], aims: Sequence[Aim]
) -> Iterator[dict[str, Future[Path]]]:
    """`uninterrupted`, `aimed`, `at_random` → the job, once its run has ended; `aims` one after the other.

    Most of the time of a life is importing PyTorch, so two of them live at a time.
    """

    def uninterrupted(job: Path) -> Path:
        workplace.penrose("run", job).check()
        return job

    def aimed(job: Path) -> Path:
        for aim in aims:
            assert workplace.kill_at(suite, aim, "run", job) == aim.phase
        return uninterrupted(job)

    def at_random(job: Path) -> Path:
        for count in PHASES:
            workplace.kill_at(suite, Aim(ANY, count), "run", job)
        for seconds in SECONDS:
            workplace.kill_after(suite, seconds, "run", job)
        return uninterrupted(job)

    def job_in(folder: Path) -> Path:
        folder.mkdir()
        source = {
            "name": "staged-files",
            "path": [str(data / "*")],
            "batch_rows": 700,
            "ledger": str(folder / "ledger"),
        }
        return write_job(folder / "job.yaml", data, folder / "run", datasource=source, **sections)

    folder = workplace.folder / suite
    folder.mkdir()
    runs = (aimed, at_random, uninterrupted)
    with ThreadPoolExecutor(2) as pool:
        yield {run.__name__: pool.submit(run, job_in(folder / run.__name__)) for run in runs}
