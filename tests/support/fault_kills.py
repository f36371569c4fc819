"""One job three times: not interrupted, killed where it was aimed at, killed at random."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fault_jobs import write_job
from fault_runs import ANY, Aim, Workplace

__all__ = ["kill_one_by_one", "killed_runs", "numbered"]

#: Phases, and seconds since the source was opened, chosen once; where they hit is the machine's doing.
AT_RANDOM = (Aim(ANY, 320), 0.15, Aim(ANY, 200), 0.08, Aim(ANY, 90), 0.02, Aim(ANY, 25), 0.2)


def kill_one_by_one(
    workplace: Workplace,
    suite: str,
    aims: Iterable[Aim],
    jobs: Iterator[Path],
    check: Callable[[Path], None] = lambda job: None,
) -> list[Path]:
    """Kill a job at each aim in turn, then let it end; returns the jobs this took, usually one.

    How far a run comes between two kills is the machine's doing. Where one has ended before an aim was reached,
    the next of `jobs` is killed at the aim before (a recovery has something to recover from then) and at this one.
    `check` is called with the job after each kill.
    """
    ran = [next(jobs)]
    before: Aim | None = None
    for aim in aims:
        if workplace.kill_if_reached(suite, aim, "run", ran[-1]) is None:
            ran.append(next(jobs))
            if before is not None and workplace.kill_if_reached(suite, before, "run", ran[-1]) is None:
                ran.append(next(jobs))
            workplace.kill_at(suite, aim, "run", ran[-1])
        before = aim
        check(ran[-1])
    workplace.penrose("run", ran[-1]).check()
    return ran


def numbered(folder: Path) -> Iterator[Path]:
    """New folders in `folder`, one after the other."""
    for number in itertools.count(1):
        (folder / str(number)).mkdir(parents=True)
        yield folder / str(number)


@contextmanager
def killed_runs(
    workplace: Workplace,
    data: Path,
    suite: str,
    sections: Mapping[str, Any],
    aims: Sequence[Aim],
    source: Callable[[Path], Mapping[str, Any]] | None = None,
) -> Iterator[dict[str, Future[list[Path]]]]:
    """`uninterrupted`, `aimed`, `at_random` → the jobs, once their runs have ended; `aims` one after the other.

    Of `aims`, and of the kills at random, as many as the option `--kills` says: the first ones have to be the most
    telling. A run needs no more than the kills before a kill to get there, so any number of the first ones will do.
    `source`: a run's folder → the job's datasource; by default the files in `data`, with a ledger of its commits.
    Most of the time of a life is importing PyTorch, so two of them live at a time.
    """

    def uninterrupted(jobs: Iterator[Path]) -> list[Path]:
        job = next(jobs)
        workplace.penrose("run", job).check()
        return [job]

    def aimed(jobs: Iterator[Path]) -> list[Path]:
        return kill_one_by_one(workplace, suite, aims[: workplace.kills], jobs)

    def at_random(jobs: Iterator[Path]) -> list[Path]:
        job = next(jobs)
        for moment in AT_RANDOM[: workplace.kills]:
            if isinstance(moment, Aim):
                workplace.kill_at(suite, moment, "run", job)
            else:
                workplace.kill_after(suite, moment, "run", job)
        workplace.penrose("run", job).check()
        return [job]

    def job_in(folder: Path) -> Path:
        read = source(folder) if source is not None else files(folder)
        return write_job(folder / "job.yaml", data, folder / "run", datasource=read, **sections)

    def files(folder: Path) -> Mapping[str, Any]:
        ledger = str(folder / "ledger")
        return {"name": "staged-files", "path": [str(data / "*")], "batch_rows": 700, "ledger": ledger}

    folder = workplace.folder / suite
    folder.mkdir()
    runs = (aimed, at_random, uninterrupted)
    with ThreadPoolExecutor(2) as pool:
        yield {run.__name__: pool.submit(run, map(job_in, numbered(folder / run.__name__))) for run in runs}
