"""Pushed rows end like pulled ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rows_support import ScribeExecutor
from run_support import batch, final_state, make_job, predictions, reports

from penrose_host import Chunk, ConfigError, ExecutorContext, NonFiniteLoss, PenroseError, Position, Reject
from penrose_host.checkpoints import CheckpointStore
from penrose_host.core.progress import Progress
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


# -- the same options as in a pulled run ------------------------------------------------------------


@pytest.mark.parametrize("until", [{"rows": 170}, {"event_time": "1970-01-01T00:00:00.000600Z"}])
def test_until_ends_a_pushed_run_where_it_ends_a_pulled_one(tmp_path: Path, until: dict[str, Any]) -> None:
    result = run(make_job(tmp_path / "pulled", until=until, output=OUTPUT))
    job = make_job(tmp_path / "pushed", until=until, output=OUTPUT)
    with HostRuntime(job).operator(source_id="memory", partitions=PARTITIONS) as operator:
        for name, offsets in pushes():
            if operator.done:
                break
            operator.process(Chunk(batch(name, offsets)))
        assert operator.done
        with pytest.raises(PenroseError, match="has come to its `until`"):
            operator.process(Chunk(batch("p0", [499])))
        assert operator.session.progress.rows == result.rows
        operator.snapshot("end", Position("memory", {"p0": 500, "p1": 500}))
        operator.durable()
    assert predictions(tmp_path / "pushed") == predictions(tmp_path / "pulled")
    assert reports(tmp_path / "pushed") == reports(tmp_path / "pulled")


def test_the_bound_of_a_datasource_s_stream_is_refused(tmp_path: Path) -> None:
    job = make_job(tmp_path, until={"stream": "now"})
    with pytest.raises(ConfigError, match=r"until\.stream"), HostRuntime(job).operator(source_id="memory"):
        pass


def test_the_run_directory_has_the_job(tmp_path: Path) -> None:
    runtime = HostRuntime(make_job(tmp_path))
    with runtime.operator(source_id="memory"):
        assert yaml.safe_load((tmp_path / "job.yaml").read_text()) == dict(runtime.spec.job)


def test_committing_what_was_never_snapshot_is_an_error_at_once_and_harms_nothing(tmp_path: Path) -> None:
    with HostRuntime(make_job(tmp_path)).operator(source_id="memory") as operator:
        operator.process(Chunk(batch("p0", list(range(50)))))
        operator.snapshot("one", Position("memory", {"p0": 50}))
        operator.durable()
        with pytest.raises(CheckpointNotFound, match="unknown"):
            operator.committed("unknown")
        operator.snapshot("two", Position("memory", {"p0": 50}))
        assert operator.durable() is not None
        operator.committed("two")


def test_the_same_process_opens_the_run_directory_again_after_a_failure(tmp_path: Path) -> None:
    job = make_job(tmp_path)

    def fail() -> None:
        with HostRuntime(job).operator(source_id="memory") as operator:
            operator.process(Chunk(batch("p0", list(range(50)))))
            operator.snapshot("one", Position("memory", {"p0": 50}))
            raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            fail()
    with HostRuntime(job).operator(source_id="memory", resume_from="one") as operator:
        operator.finish()
        assert operator.session.progress.rows == 50


class BreaksOnce(ScribeExecutor):
    """Step 20 is never finite."""

    def setup(self, context: ExecutorContext) -> None:
        super().setup(context)
        self.broken_steps = {20}


def test_after_a_step_that_is_not_finite_the_engine_goes_back_and_the_step_is_left_out(tmp_path: Path) -> None:
    pulled = run(make_job(tmp_path / "pulled", executor=BreaksOnce, non_finite="rollback"))
    runtime = HostRuntime(make_job(tmp_path / "pushed", executor=BreaksOnce, non_finite="rollback"))
    chunks = list(pushes())

    def push(start: int, resume_from: str | None) -> Progress:
        with runtime.operator(source_id="memory", partitions=PARTITIONS, resume_from=resume_from) as operator:
            for number, (name, offsets) in list(enumerate(chunks))[start:]:
                operator.process(Chunk(batch(name, offsets)))
                if number == 3:
                    operator.snapshot("four", Position("memory", {}))
                    operator.durable()
                    operator.committed("four")
            operator.finish()
            return operator.session.progress

    with pytest.raises(NonFiniteLoss, match="open the operator again"):
        push(0, None)
    progress = push(4, "four")
    assert progress.skipped_rows > 0
    assert progress.rows == pulled.rows
    assert reports(tmp_path / "pushed") == reports(tmp_path / "pulled")


def test_going_back_is_not_recommended_to_a_run_that_went_back_already(tmp_path: Path) -> None:
    class BreaksAlways(ScribeExecutor):
        def setup(self, context: ExecutorContext) -> None:
            super().setup(context)
            self.broken_steps = set(range(1000))

    with pytest.raises(NonFiniteLoss) as raised:
        run(make_job(tmp_path, executor=BreaksAlways, non_finite="rollback"))
    assert "`non_finite: rollback`" not in str(raised.value)
    assert "went back" in str(raised.value)
