"""Pushed rows end like pulled ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from run_support import batch, final_state, make_job, predictions, reports

from penrose_host import Chunk, Position, Reject
from penrose_host.checkpoints import CheckpointStore
from penrose_host.errors import CheckpointNotFound
from penrose_host.training.runtime import HostRuntime, run

OUTPUT = {"predictions": "predictions"}
PARTITIONS = ["p0", "p1"]


def pushes(chunk: int = 37) -> Iterator[tuple[str, list[int]]]:
    """The rows of both partitions, in chunks that arrive by turns."""
    for start in range(0, 500, chunk):
        for name in PARTITIONS:
            yield name, list(range(start, min(start + chunk, 500)))


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("pulled")
    run(make_job(run_dir, output=OUTPUT))
    return run_dir


def test_pushed_rows_end_in_the_same_bytes_as_pulled_ones(tmp_path: Path, pulled: Path) -> None:
    runtime = HostRuntime(make_job(tmp_path, output=OUTPUT))
    with runtime.operator(source_id="memory", partitions=PARTITIONS) as operator:
        for name, offsets in pushes():
            operator.process(Chunk(batch(name, offsets)))
        operator.finish()
        operator.snapshot("end", Position("memory", {"p0": 500, "p1": 500}))
        operator.durable()
    assert final_state(tmp_path) == final_state(pulled)
    assert predictions(tmp_path) == predictions(pulled)
    assert reports(tmp_path) == reports(pulled)


@pytest.mark.parametrize("ends", [True, False])
def test_an_export_is_written_when_the_engine_s_stream_has_ended(tmp_path: Path, ends: bool) -> None:
    runtime = HostRuntime(make_job(tmp_path, output={"export": "model"}))
    with runtime.operator(source_id="memory", partitions=PARTITIONS) as operator:
        for name, offsets in pushes():
            operator.process(Chunk(batch(name, offsets)))
        if ends:
            operator.finish()
    assert (tmp_path / "model" / "counts.json").exists() == ends


@pytest.mark.parametrize("fail_after", [1, 5, 11, 20])
def test_an_engine_that_fails_resumes_from_its_own_checkpoint(tmp_path: Path, pulled: Path, fail_after: int) -> None:
    job = make_job(tmp_path, output=OUTPUT)
    committed: str | None = None
    done = 0
    with HostRuntime(job).operator(source_id="memory", partitions=PARTITIONS) as operator:
        for number, (name, offsets) in enumerate(pushes()):
            operator.process(Chunk(batch(name, offsets)))
            if number % 4 == 3:
                operator.snapshot(f"engine-{number}", Position("memory", {name: offsets[-1] + 1}))
                operator.durable()
                operator.committed(f"engine-{number}")
                committed, done = f"engine-{number}", number + 1
            if number == fail_after:
                break
    # Whatever came after the engine's checkpoint never happened; it pushes from there on, and only that.
    with HostRuntime(job).operator(source_id="memory", partitions=PARTITIONS, resume_from=committed) as operator:
        for name, offsets in list(pushes())[done:]:
            operator.process(Chunk(batch(name, offsets)))
        operator.finish()
        operator.snapshot("end", Position("memory", {"p0": 500, "p1": 500}))
        operator.durable()
    assert final_state(tmp_path) == final_state(pulled)
    assert predictions(tmp_path) == predictions(pulled)
    assert reports(tmp_path) == reports(pulled)


def test_rows_that_were_pushed_and_not_scored_are_in_the_checkpoint(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    with HostRuntime(job).operator(source_id="memory", partitions=PARTITIONS) as operator:
        operator.process(Chunk(batch("p0", list(range(100)))))
        assert operator.session.progress.rows == 0  # the merge waits for p1
        operator.snapshot("one", Position("memory", {"p0": 100}))
        operator.durable()
    with HostRuntime(job).operator(source_id="memory", partitions=PARTITIONS, resume_from="one") as operator:
        operator.end(["p1"])
        operator.finish()
        assert operator.session.progress.rows == 100


def test_the_last_committed_checkpoint_outlives_any_number_of_aborted_ones(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    with HostRuntime(job).operator(source_id="memory") as operator:
        for number in range(10):
            operator.process(Chunk(batch("p0", list(range(number * 20, number * 20 + 20)))))
            operator.snapshot(f"e{number}", Position("memory", {"p0": number * 20 + 20}))
            operator.durable()
            if number == 1:
                operator.committed("e1")
            else:
                operator.aborted(f"e{number}")
    kept = [info.external_id for info in CheckpointStore(tmp_path / "checkpoints").list()]
    assert kept == ["e1", "e7", "e8", "e9"]
    with (
        pytest.raises(CheckpointNotFound, match="e2"),
        HostRuntime(job).operator(source_id="memory", resume_from="e2"),
    ):
        pass


def test_bad_rows_of_an_engine_are_counted_once(tmp_path: Path) -> None:
    job = make_job(tmp_path, bad_rows="dead-letter")
    with HostRuntime(job).operator(source_id="memory") as operator:
        operator.process(Chunk(batch("p0", [0, 1, 3]), (Reject("p0", 2, "bad", b"?"),)))
        operator.snapshot("one", Position("memory", {"p0": 4}))
        operator.durable()
    with HostRuntime(job).operator(source_id="memory", resume_from="one") as operator:
        operator.process(Chunk(batch("p0", [4])))
        operator.finish()
        assert operator.session.progress.bad_rows == 1
        assert operator.session.progress.rows == 4
    assert len((tmp_path / "dead-letter.jsonl").read_text().splitlines()) == 1
