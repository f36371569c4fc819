"""Whole runs: resume, stop, bad rows, rollback, refusals."""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel
from rows_support import ScribeExecutor
from run_support import MemorySource, final_state, make_job, predictions, reports
from toy_table import ToyBackend

from penrose_host import EncodedBatch, ExecutorContext, Position, StepInfo, StepResult, StopRequest, TableSpec
from penrose_host.checkpoints import CheckpointStore
from penrose_host.embeddings.hashing import HashingBackend
from penrose_host.errors import (
    BadRow,
    CheckpointDamaged,
    CheckpointError,
    ConfigError,
    NonFiniteLoss,
    RunDirectoryError,
    WrongStream,
)
from penrose_host.monitoring.terminal import LogFormat, Terminal
from penrose_host.storage.run_directory import locked
from penrose_host.training.runtime import run

OUTPUT = {"predictions": "predictions"}


def assert_same_end(one: Path, other: Path) -> None:
    assert final_state(one) == final_state(other)
    assert reports(one) == reports(other)
    assert predictions(one) == predictions(other)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("uninterrupted")
    result = run(make_job(run_dir, output=OUTPUT))
    assert (result.reason, result.rows) == ("end-of-stream", 1000)
    return run_dir


def test_every_row_is_scored_once_and_trained_once_if_it_has_a_label(uninterrupted: Path) -> None:
    rows = predictions(uninterrupted)
    assert len({(row["_partition"], row["_offset"]) for row in rows}) == len(rows) == 1000
    labelled = sum(row["label"] is not None for row in rows)
    last = reports(uninterrupted)[-1]
    assert last["final"]
    assert last["trained_rows"] == labelled
    counts = json.loads(final_state(uninterrupted)["executor/counts.json"])["counts"]
    assert Counter(count for _, count in counts) == {1: labelled}


@pytest.mark.parametrize("rows", [[1], [17, 333], [200, 201, 640], [999], list(range(50, 1000, 90))])
def test_a_run_stopped_and_resumed_ends_like_one_that_was_not(
    tmp_path: Path, uninterrupted: Path, rows: list[int]
) -> None:
    for until in rows:
        assert run(make_job(tmp_path, output=OUTPUT, until={"rows": until})).reason == "until"
    assert run(make_job(tmp_path, output=OUTPUT)).reason == "end-of-stream"
    assert_same_end(tmp_path, uninterrupted)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("every", [1, 50, 10_000])
def test_neither_chunks_nor_checkpoints_change_the_end(
    tmp_path: Path, uninterrupted: Path, chunk: int, every: int
) -> None:
    job = make_job(tmp_path, output=OUTPUT, source={"chunk": chunk}, checkpoint={"rows": every, "seconds": None})
    run(job)
    assert_same_end(tmp_path, uninterrupted)


def test_a_finished_run_that_is_started_again_changes_nothing(tmp_path: Path) -> None:
    first = run(make_job(tmp_path, output=OUTPUT))
    lines = (tmp_path / "metrics.jsonl").read_bytes()
    second = run(make_job(tmp_path, output=OUTPUT))
    assert (second.rows, second.checkpoint) == (first.rows, first.checkpoint)
    assert (tmp_path / "metrics.jsonl").read_bytes() == lines


def test_until_event_time_scores_exactly_the_rows_before_it(tmp_path: Path) -> None:
    run(
        make_job(
            tmp_path,
            output=OUTPUT,
            micro_batch={"rows": 1, "event_time": None},
            until={"event_time": "1970-01-01T00:00:00.000300+00:00"},
        )
    )
    assert all(row["event_time"].microsecond < 300 for row in predictions(tmp_path))
    assert len(predictions(tmp_path)) == 200


def test_the_source_is_told_only_of_positions_whose_manifest_is_there(tmp_path: Path) -> None:
    seen: list[bool] = []

    class Watching(MemorySource):
        def commit(self, position: Position) -> None:
            manifests = [info.position for info in CheckpointStore(tmp_path / "checkpoints").list()]
            seen.append(position in manifests)

    run(make_job(tmp_path, datasource=Watching, checkpoint={"rows": 100, "seconds": None, "keep": 1000}))
    assert len(seen) >= 2
    assert all(seen)


def test_bad_rows_fail_by_default_and_name_partition_and_offset(tmp_path: Path) -> None:
    with pytest.raises(BadRow, match="'p0', offset 77: made bad"):
        run(make_job(tmp_path, source={"bad": [77]}))


@pytest.mark.parametrize("stops", [[], [100, 500]])
def test_bad_rows_are_counted_once_or_kept_once(tmp_path: Path, stops: list[int]) -> None:
    source = {"bad": [0, 77, 78, 499]}
    for until in stops:
        run(make_job(tmp_path, source=source, bad_rows="dead-letter", until={"rows": until}))
    result = run(make_job(tmp_path, source=source, bad_rows="dead-letter"))
    assert result.metrics["bad_rows"] == 4
    assert result.position.offsets == {"p0": 500, "p1": 500}
    letters = [json.loads(line) for line in (tmp_path / "dead-letter.jsonl").read_text().splitlines()]
    assert [(letter["partition"], letter["offset"], letter["raw"]) for letter in letters] == [
        ("p0", offset, "{oops") for offset in (0, 77, 78, 499)
    ]


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(("partitions", "good"), [(1, False), (2, True)])
def test_a_flood_of_bad_rows_is_shown_while_it_lasts(
    tmp_path: Path, log_format: LogFormat, partitions: int, good: bool
) -> None:
    def told(run_dir: Path, chunk: int) -> list[str]:
        said = io.StringIO()
        source = {"bad": range(500), "partitions": partitions, "chunk": chunk}
        result = run(make_job(run_dir, source=source, bad_rows="skip"), listeners=[Terminal(log_format, said)])
        assert (result.rows, result.metrics["bad_rows"]) == (500 if good else 0, 500)
        return [line for line in said.getvalue().splitlines() if "made bad" in line]

    lines = told(tmp_path / "one", 50)
    assert len(lines) >= 4
    if not good:
        counts = [100, 200, 300, 400, 500]
        texts = [f"{n} bad rows, 0 rows scored; the last bad one is partition 'p0', offset {n - 1}" for n in counts]
        assert all(text in line for text, line in zip(texts, lines, strict=True))
    if log_format == "json":
        assert {json.loads(line)["event"] for line in lines} == {"bad-rows"}
    # How rows come in chunks is chance: what the run leaves does not depend on it.
    told(tmp_path / "other", 64)
    assert reports(tmp_path / "one") == reports(tmp_path / "other")


def test_a_position_of_another_stream_is_refused(tmp_path: Path) -> None:
    run(make_job(tmp_path, until={"rows": 100}))
    with pytest.raises(WrongStream, match=r"'memory'.*'other'"):
        run(make_job(tmp_path, source={"stream": "other"}))


def test_a_checkpoint_of_another_job_is_refused_and_says_what_differs(tmp_path: Path) -> None:
    run(make_job(tmp_path, until={"rows": 100}))
    with pytest.raises(CheckpointError, match="seed"):
        run(make_job(tmp_path, seed=7))
    assert run(make_job(tmp_path, seed=7), fresh=True).rows == 1000


class Tabular(ScribeExecutor):
    """Asks for a table."""

    def setup(self, context: ExecutorContext) -> None:
        super().setup(context)
        assert context.tables is not None
        self.table = context.tables(TableSpec("embeddings", 2))


class Late(ScribeExecutor):
    """Asks for a table when it is too late for a checkpoint to hold it."""

    def setup(self, context: ExecutorContext) -> None:
        super().setup(context)
        self.tables = context.tables

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        assert self.tables is not None
        self.tables(TableSpec("late", 2))
        return super().train(batch, step)


def test_an_embedding_that_makes_no_table_is_no_part_of_a_checkpoint(tmp_path: Path) -> None:
    run(make_job(tmp_path / "one", embedding=HashingBackend, until={"rows": 100}))
    assert run(make_job(tmp_path / "one")).rows == 1000
    run(make_job(tmp_path / "two", until={"rows": 100}))
    assert run(make_job(tmp_path / "two", embedding=HashingBackend)).rows == 1000
    run(make_job(tmp_path / "three", executor=Tabular, embedding=HashingBackend, until={"rows": 100}))
    with pytest.raises(CheckpointError, match=r"embedding\.name: was 'hashingbackend', is 'toybackend'"):
        run(make_job(tmp_path / "three", executor=Tabular, embedding=ToyBackend))


def test_a_job_that_is_refused_leaves_the_job_of_the_run_directory_as_it_was(tmp_path: Path) -> None:
    run(make_job(tmp_path, executor=Tabular, embedding=HashingBackend, until={"rows": 100}))
    before = (tmp_path / "job.yaml").read_text()
    with pytest.raises(CheckpointError):
        run(make_job(tmp_path, executor=Tabular, embedding=ToyBackend))
    assert (tmp_path / "job.yaml").read_text() == before


def test_a_table_that_no_checkpoint_would_restore_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="asks for the table 'late' when it is set up already"):
        run(make_job(tmp_path, executor=Late, embedding=HashingBackend))


def test_an_older_checkpoint_can_be_picked_when_the_last_is_damaged(tmp_path: Path, uninterrupted: Path) -> None:
    checkpoint = {"rows": 200, "seconds": None, "keep": 10}
    run(make_job(tmp_path, output=OUTPUT, checkpoint=checkpoint, until={"rows": 700}))
    infos = CheckpointStore(tmp_path / "checkpoints").list()
    assert len(infos) >= 2
    victim = tmp_path / "checkpoints" / infos[-1].id / "chief-0" / "executor" / "counts.json"
    victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    with pytest.raises(CheckpointDamaged, match=r"counts\.json"):
        run(make_job(tmp_path, output=OUTPUT))
    run(make_job(tmp_path, output=OUTPUT), resume_from=infos[0].id)
    assert_same_end(tmp_path, uninterrupted)


def test_two_runs_on_one_directory_are_refused(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(RunDirectoryError, match=f"in use by another run .process {os.getpid()}"):
        run(make_job(tmp_path))


def test_a_run_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="--run-dir"):
        run(make_job(tmp_path / "file" / "run"))


def test_a_read_only_run_directory_is_an_error(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    run_dir.chmod(0o555)
    # As an ordinary user: the superuser may write everywhere.
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from penrose_host.storage.run_directory import locked\n"
        "from penrose_host.errors import RunDirectoryError\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "try:\n"
        "    with locked(Path(sys.argv[1])): sys.exit('locked')\n"
        "except RunDirectoryError as error: print(error)\n"
    )
    for parent in list(tmp_path.parents)[:3]:
        if parent.owner() == run_dir.owner():
            parent.chmod(0o755)
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", program, str(run_dir)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Permission denied" in done.stdout, done.stderr
    assert "--run-dir" in done.stdout


class BreaksOnce(ScribeExecutor):
    """Step 20 is not finite, whenever it comes."""

    def __init__(self, options: BaseModel | None = None) -> None:
        super().__init__(options)
        self.broken_steps = {20}


def test_a_non_finite_loss_stops_the_run_at_the_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss, match="step 20"):
        run(make_job(tmp_path, executor=BreaksOnce, checkpoint={"rows": 100, "seconds": None}))
    checkpoint = CheckpointStore(tmp_path / "checkpoints").latest()
    assert checkpoint is not None


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_a_non_finite_loss_can_be_left_out(tmp_path: Path, policy: str) -> None:
    result = run(make_job(tmp_path, executor=BreaksOnce, non_finite=policy, output=OUTPUT))
    skipped = result.metrics["skipped_rows"]
    assert skipped > 0
    labelled = sum(row["label"] is not None for row in predictions(tmp_path))
    assert result.trained_rows == labelled - skipped


def test_rolling_back_ends_like_skipping_from_the_start(tmp_path: Path) -> None:
    run(make_job(tmp_path / "a", executor=BreaksOnce, non_finite="skip", output=OUTPUT))
    run(make_job(tmp_path / "b", executor=BreaksOnce, non_finite="rollback", output=OUTPUT))
    assert reports(tmp_path / "a") == reports(tmp_path / "b")
    assert predictions(tmp_path / "a") == predictions(tmp_path / "b")


class AlwaysBroken(ScribeExecutor):
    """No step is ever finite."""

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        return StepResult({"y": float("inf")}, self._scores(len(batch)), applied=False)


def test_rolling_back_for_ever_ends_with_the_error(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss):
        run(make_job(tmp_path, executor=AlwaysBroken, non_finite="rollback"))


class FailsToWrite(ScribeExecutor):
    """Its snapshot cannot be written."""

    def snapshot(self) -> Any:
        from penrose_host import Snapshot, SnapshotWriter

        class Broken(Snapshot):
            def write(self, writer: SnapshotWriter) -> None:
                raise CheckpointError("no space for the executor")

        return Broken()


def test_a_checkpoint_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no space for the executor"):
        run(make_job(tmp_path, executor=FailsToWrite))
    assert CheckpointStore(tmp_path / "checkpoints").latest() is None


def test_what_the_source_raises_reaches_the_caller(tmp_path: Path) -> None:
    class Breaking(MemorySource):
        def read(self, max_rows: int, timeout: float) -> Any:
            raise OSError("the cable is cut")

    with pytest.raises(OSError, match="the cable is cut"):
        run(make_job(tmp_path, datasource=Breaking))


@pytest.mark.parametrize("where", ["commit", "close"])
def test_what_the_source_raises_at_the_very_end_reaches_the_caller(tmp_path: Path, where: str) -> None:
    class Breaking(MemorySource):
        def commit(self, position: Position) -> None:
            if where == "commit":
                raise OSError("the broker is gone")

        def close(self) -> None:
            if where == "close":
                raise OSError("the broker is gone")

    with pytest.raises(OSError, match="the broker is gone"):
        run(make_job(tmp_path, datasource=Breaking, checkpoint={"rows": None, "seconds": None}))


@pytest.mark.parametrize("rows", [100, 120, 5])
def test_the_last_report_tells_the_rate_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    clock = itertools.count()
    stepping = SimpleNamespace(perf_counter=lambda: float(next(clock)), time=time.time)
    monkeypatch.setattr("penrose_host.training.reports.time", stepping)
    run(make_job(tmp_path, source={"rows": rows, "partitions": 1}, micro_batch={"rows": 10, "event_time": None}))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    # A second passes from report to report: the last one of 100 rows tells no more rows than the one before it.
    expected = {100: [100.0, 50.0], 120: [100.0, 20.0], 5: [5.0]}[rows]
    assert [line["rows_per_second"] for line in lines] == expected


def test_an_export_is_written_at_the_end(tmp_path: Path) -> None:
    run(make_job(tmp_path, output={"export": "model"}))
    assert (tmp_path / "model" / "counts.json").exists()
    assert not (tmp_path / "model.tmp").exists()


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("why", ["end-of-stream", "until", "signal"])
def test_a_run_says_what_became_of_its_export(tmp_path: Path, why: str, log_format: LogFormat) -> None:
    stop, said = StopRequest(), io.StringIO()
    if why == "signal":
        stop.set()
    until = {"rows": 320 if why == "until" else None}
    job = make_job(tmp_path, output={"export": "model"}, until=until)
    assert run(job, stop=stop, listeners=[Terminal(log_format, said)]).reason == why
    assert (tmp_path / "model" / "counts.json").exists() == (why != "signal")
    text = "nothing is exported to" if why == "signal" else "the model is exported to"
    (line,) = [line for line in said.getvalue().splitlines() if "exported to" in line]
    assert f"{text} {tmp_path / 'model'}" in line
    if log_format == "json":
        assert json.loads(line)["event"] == ("export-skipped" if why == "signal" else "exported")
