"""Ends of runs, in one process: where a stop falls, what has been read ahead, and what lies in a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rows_support import ScribeExecutor
from run_support import FEATURES, MemorySource, final_state, make_job, predictions, reports

from penrose_host import Chunk
from penrose_host.checkpoints import CheckpointStore
from penrose_host.checkpoints.fragments import FragmentWriter
from penrose_host.contracts.cluster import Role
from penrose_host.contracts.snapshots import FileRef, Snapshot, SnapshotWriter
from penrose_host.errors import SourceError
from penrose_host.training.runtime import run

pytestmark = pytest.mark.faults

ON_ARRIVAL = {name: value for name, value in FEATURES.items() if name != "known_at"}
ROW_BY_ROW = {"rows": 1, "event_time": None}


@pytest.mark.parametrize("checkpoint", [1000, 1_000_000])
def test_a_run_that_stopped_behind_the_last_row_still_gets_its_last_report(tmp_path: Path, checkpoint: int) -> None:
    """Nothing is left to score or to train: that the stream has ended is all there is to find out."""
    job: dict[str, Any] = {
        "features": ON_ARRIVAL,
        "micro_batch": ROW_BY_ROW,
        "output": {"predictions": "predictions"},
        "checkpoint": {"rows": checkpoint, "seconds": None},
    }
    run(make_job(tmp_path / "whole", **job))
    assert run(make_job(tmp_path / "run", until={"rows": 1000}, **job)).reason == "until"
    result = run(make_job(tmp_path / "run", **job))
    assert result.metrics["final"]
    assert reports(tmp_path / "run") == reports(tmp_path / "whole")
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")
    assert predictions(tmp_path / "run") == predictions(tmp_path / "whole")


class TakesTurns(MemorySource):
    """Its partitions take turns: what has arrived ends in the middle of both, again and again."""

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        first, *others = self._next
        self._next = {name: self._next[name] for name in (*others, first)}
        return super().read(max_rows, timeout)


def test_reports_on_bad_rows_do_not_depend_on_how_much_was_read_at_a_time(tmp_path: Path) -> None:
    bad = (*range(3, 500, 2), *range(490, 500, 2))
    found = []
    for chunk in (1, 3, 7, 16, 1000):
        for every in (10, 10_000):
            run_dir = tmp_path / f"{chunk}-{every}"
            run(
                make_job(
                    run_dir,
                    datasource=TakesTurns,
                    source={"chunk": chunk, "bad": bad},
                    bad_rows="skip",
                    micro_batch=ROW_BY_ROW,
                    report={"rows": 5},
                    checkpoint={"rows": every, "seconds": None},
                )
            )
            found.append(reports(run_dir))
            assert final_state(run_dir) == final_state(tmp_path / "1-10")
    assert all(lines == found[0] for lines in found)
    assert found[0][-1]["bad_rows"] == len(set(bad))


class BreaksLater(MemorySource):
    """Gives 200 rows of each partition, and then fails."""

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        if all(offset >= 200 for offset in self._next.values()):
            raise SourceError("the disk of the broker is broken")
        self._paused = frozenset(name for name, offset in self._next.items() if offset >= 200)
        return super().read(8, timeout)


def test_a_run_that_stops_before_what_is_broken_ends_well(tmp_path: Path) -> None:
    """Reading runs ahead: what it ran into belongs to the life of the run that comes to it."""
    for rows in (50, 300):
        result = run(make_job(tmp_path, datasource=BreaksLater, until={"rows": rows}))
        assert result.reason == "until"
    with pytest.raises(SourceError, match="the disk of the broker is broken"):
        run(make_job(tmp_path, datasource=BreaksLater))


class Unchanged(Snapshot):
    """A table that has not changed since the checkpoint that holds its one file."""

    def __init__(self, base: FileRef | None) -> None:
        self._base = base

    def write(self, writer: SnapshotWriter) -> None:
        if self._base is None:
            writer.add("base.bin", b"base")
        else:
            writer.reuse("base.bin", self._base)


def test_a_checkpoint_of_which_a_part_is_all_in_earlier_ones_can_be_written(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.claim(None)

    def write(sequence: int, base: FileRef | None) -> FileRef:
        fragment = FragmentWriter(store.begin(sequence), Role.CHIEF, 0)
        Unchanged(base).write(fragment.part("tables/a"))
        return fragment.close()["chief-0/tables/a/base.bin"]

    base = write(1, None)
    assert write(2, base) == base


class Failing(ScribeExecutor):
    """Its third step fails."""

    def train(self, batch: Any, step: Any) -> Any:
        if step.sequence == 3:
            raise ArithmeticError("the third step")
        return super().train(batch, step)


def test_why_training_failed_is_not_hidden_by_what_reading_ran_into(tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError, match="the third step"):
        run(make_job(tmp_path, datasource=BreaksLater, executor=Failing))
