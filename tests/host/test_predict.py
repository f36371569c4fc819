"""Scoring a stream with a checkpoint: which rows, in which order, with which model, and what it leaves alone."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows_support import ScribeExecutor
from run_support import FEATURES, MemorySource, batch, make_job, predictions
from waiting_support import wait_until

from penrose_host import Capability, Chunk, EncodedBatch, EndOfStream, StopRequest
from penrose_host.checkpoints import CheckpointStore
from penrose_host.core import merge
from penrose_host.errors import BadRow, CheckpointError, CheckpointNotFound, ConfigError, DataError, PenroseError
from penrose_host.features.encoder import FeatureEncoder
from penrose_host.ingest import reader
from penrose_host.storage.run_directory import locked
from penrose_host.training.runtime import run
from penrose_host.training.scoring import score

OUTPUT = {"predictions": "predictions"}


class IdExecutor(ScribeExecutor):
    """Each row's score follows from its id and from how much was trained."""

    def predict(self, batch: EncodedBatch) -> Mapping[str, Any]:
        ids = batch.ids[:, 0].astype(np.uint64)
        return {"y": ((ids % 1000 + self.trained) % 1000 / 1000).astype(np.float32)}


def job(run_dir: Path, **changes: Any) -> Any:
    return make_job(run_dir, executor=IdExecutor, **{"output": OUTPUT, **changes})


def parts(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(folder.glob("*.parquet"))
    return [row for path in paths for row in pq.read_table(path, partitioning=None).to_pylist()]


def content(folder: Path) -> dict[str, tuple[str, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in files}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stopped after 600 of 1000 rows."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    run(job(run_dir, until={"rows": 600}, checkpoint={"rows": 200, "seconds": None, "keep": 10}))
    return run_dir


def test_every_row_is_scored_once_by_the_model_of_the_checkpoint_in_the_order_of_a_run(
    tmp_path: Path, trained: Path
) -> None:
    scored = score(job(trained), tmp_path / "out")
    assert (scored.reason, scored.rows, scored.bad_rows) == ("end-of-stream", 1000, 0)
    assert scored.checkpoint == CheckpointStore(trained / "checkpoints").ids()[-1]
    given, ran = parts(tmp_path / "out"), predictions(trained)
    assert [list(row) for row in given[:1]] == [list(row) for row in ran[:1]]
    places = "_partition", "_offset", "event_time", "label"
    assert len(ran) >= 600
    assert [[row[k] for k in places] for row in given[: len(ran)]] == [[row[k] for k in places] for row in ran]
    executor = IdExecutor()
    executor.trained = json.loads(_state(trained, scored.checkpoint))["trained"]
    assert executor.trained > 0
    source = MemorySource(MemorySource.Options())
    source.open(dict.fromkeys(source.partitions()))
    encoder = FeatureEncoder(job(trained).job.features)
    expected = {}
    for _ in range(16):
        rows, _ = encoder.encode(source.read(64, 1.0))
        scores = executor.predict(rows.batch())["y"]
        expected |= {(rows.names[p], int(o)): s for p, o, s in zip(rows.partition, rows.offset, scores, strict=True)}
    assert {(row["_partition"], row["_offset"]): row["score"] for row in given} == expected


class LateSource(MemorySource):
    """Partition p1 runs ahead: of p0 there are ten rows, which come once p1 is held back."""

    def _rows(self, name: str) -> int:
        return 10 if name == "p0" else int(self.options.rows)

    def ended(self) -> Collection[str]:
        return [name for name, offset in self._next.items() if offset >= self._rows(name)]

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        for name in ("p1", "p0"):
            offset, stop = self._next[name], min(self._next[name] + self.options.chunk, self._rows(name))
            if name not in self._paused and offset < stop and (name == "p1" or self._paused):
                self._next[name] = stop
                return Chunk(batch(name, list(range(offset, stop))))
        if len(self.ended()) < 2:
            return None
        raise EndOfStream


def test_a_partition_that_ran_ahead_is_read_on_once_the_others_have_ended(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "AHEAD", 100)
    monkeypatch.setattr(reader, "MAX_BYTES", 20_000)
    stop = StopRequest()
    timer = threading.Timer(30, stop.set)
    timer.start()
    scored = score(job(trained, datasource=LateSource, source={"rows": 3000}), tmp_path / "out", stop=stop)
    timer.cancel()
    assert (scored.reason, scored.rows) == ("end-of-stream", 3010)


def _state(run_dir: Path, id: str) -> bytes:
    return (run_dir / "checkpoints" / id / "chief-0" / "executor" / "counts.json").read_bytes()


def test_metrics_are_of_the_rows_with_a_label(tmp_path: Path, trained: Path) -> None:
    scored = score(job(trained), tmp_path / "out")
    labelled = sum(row["label"] is not None for row in parts(tmp_path / "out"))
    assert 0 < scored.metrics["labelled_rows"] == labelled < 1000
    assert scored.metrics["auc"] is not None


def test_nothing_in_the_run_directory_changes_and_a_run_may_be_going_on(tmp_path: Path, trained: Path) -> None:
    with locked(trained):
        before = content(trained)
        score(job(trained), tmp_path / "out")
        assert content(trained) == before


def test_the_source_is_never_told_that_anything_is_durable(tmp_path: Path, trained: Path) -> None:
    MemorySource.commits.clear()
    score(job(trained, checkpoint={"rows": 10, "seconds": None}), tmp_path / "out")
    assert MemorySource.commits == []


def test_an_older_checkpoint_can_be_chosen(tmp_path: Path, trained: Path) -> None:
    first, *_, last = CheckpointStore(trained / "checkpoints").ids()
    assert score(job(trained), tmp_path / "a", checkpoint=first).checkpoint == first
    assert score(job(trained), tmp_path / "b", checkpoint=last).checkpoint == last
    assert [row["score"] for row in parts(tmp_path / "a")] != [row["score"] for row in parts(tmp_path / "b")]


def test_a_checkpoint_that_is_not_there_is_an_error_and_no_output_is_begun(tmp_path: Path, trained: Path) -> None:
    with pytest.raises(CheckpointNotFound, match="00000099-e1"):
        score(job(trained), tmp_path / "out", checkpoint="00000099-e1")
    with pytest.raises(CheckpointNotFound, match=r"none has no checkpoint\n.*penrose run"):
        score(job(tmp_path / "none"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# -- another stream, another job -----------------------------------------------------------------


class Unlabelled(MemorySource):
    """The same rows before anybody knows their labels; another stream."""

    @property
    def source_id(self) -> str:
        return "unlabelled"

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        chunk = super().read(max_rows, timeout)
        return None if chunk is None else Chunk(chunk.batch.drop_columns(["y", "known"]), chunk.rejects)


def test_a_stream_without_labels_is_scored_with_null_labels(tmp_path: Path, trained: Path) -> None:
    scored = score(job(trained, datasource=Unlabelled), tmp_path / "a")
    score(job(trained), tmp_path / "b")
    bare, labelled = parts(tmp_path / "a"), parts(tmp_path / "b")
    assert all(row["label"] is None for row in bare)
    assert len(bare) == 1000
    assert [row["score"] for row in bare] == [row["score"] for row in labelled]
    assert scored.metrics["labelled_rows"] == 0


def test_a_stream_without_a_feature_is_an_error(tmp_path: Path, trained: Path) -> None:
    class Featureless(MemorySource):
        def read(self, max_rows: int, timeout: float) -> Chunk | None:
            chunk = super().read(max_rows, timeout)
            return None if chunk is None else Chunk(chunk.batch.drop_columns(["row"]), chunk.rejects)

    with pytest.raises(DataError, match="no column 'row'"):
        score(job(trained, datasource=Featureless), tmp_path / "out")


@pytest.mark.parametrize("change", [{"seed": 7}, {"features": FEATURES | {"categorical": ["t"]}}])
def test_a_checkpoint_of_another_job_is_refused_and_says_what_differs(
    tmp_path: Path, trained: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointError, match=rf"belongs to another job:\n +{next(iter(change))}"):
        score(job(trained, **change), tmp_path / "out")


def test_order_and_micro_batches_of_the_job_may_differ(tmp_path: Path, trained: Path) -> None:
    changed = job(trained, order="arrival", micro_batch={"rows": 7, "event_time": "5m"})
    score(changed, tmp_path / "a")
    score(job(trained), tmp_path / "b")
    key = "_partition", "_offset"
    given = [sorted(parts(tmp_path / name), key=lambda row: [row[k] for k in key]) for name in "ab"]
    assert given[0] == given[1]


# -- where it ends -------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 16, 17, 999, 1000, 5000])
def test_until_rows_scores_exactly_so_many(tmp_path: Path, trained: Path, rows: int) -> None:
    scored = score(job(trained, until={"rows": rows}), tmp_path / "out")
    assert scored.rows == len(parts(tmp_path / "out")) == min(rows, 1000)
    assert scored.reason == ("until" if rows <= 1000 else "end-of-stream")


def test_until_event_time_scores_exactly_the_rows_before_it(tmp_path: Path, trained: Path) -> None:
    scored = score(job(trained, until={"event_time": "1970-01-01T00:00:00.000300+00:00"}), tmp_path / "out")
    assert scored.reason == "until"
    assert sorted(row["event_time"].microsecond for row in parts(tmp_path / "out")) == sorted(
        o * 3 + p for p in (0, 1) for o in range(100)
    )


class Endless(MemorySource):
    """Never ends, and now and then has nothing."""

    capabilities = frozenset({Capability.SEEK, Capability.UNBOUNDED})

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        self._turn = getattr(self, "_turn", 0) + 1
        return None if self._turn % 3 == 0 else super().read(max_rows, timeout)

    def ended(self) -> list[str]:
        return []


def test_a_request_to_stop_leaves_whole_parts_of_what_was_scored(tmp_path: Path, trained: Path) -> None:
    stop = StopRequest()

    class StopsIt(IdExecutor):
        def predict(self, batch: EncodedBatch) -> Mapping[str, Any]:
            self.seen = getattr(self, "seen", 0) + len(batch)
            if self.seen >= 500:
                stop.set()
            return super().predict(batch)

    StopsIt.__name__ = IdExecutor.__name__  # the plugin that the checkpoint is of
    stopping = make_job(trained, executor=StopsIt, datasource=Endless, source={"rows": 10**9})
    scored = score(stopping, tmp_path / "out", stop=stop)
    assert scored.reason == "signal"
    assert 500 <= scored.rows == len(parts(tmp_path / "out")) < 600
    assert not list((tmp_path / "out").glob("*.tmp"))


def test_parts_appear_while_an_endless_stream_goes_on(tmp_path: Path, trained: Path) -> None:
    changed = job(
        trained,
        datasource=Endless,
        source={"rows": 10**9},
        until={"rows": 2000},
        checkpoint={"rows": 300, "seconds": None},
    )
    score(changed, tmp_path / "out")
    sizes = [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "out").glob("*.parquet"))]
    assert sum(sizes) == 2000
    assert all(300 <= size <= 316 for size in sizes[:-1])


PENROSE = "import sys; from penrose_host.cli import main; sys.exit(main())"
JOB = """\
name: endless
datasource: {{name: endless, rows: 1000000000}}
executor: idscribe
features: {features}
micro_batch: {{rows: 16}}
checkpoint: {{rows: null, seconds: 0.05}}
run_dir: {run_dir}
"""


def test_sigterm_ends_the_command_in_good_order(site: Any, tmp_path: Path, trained: Path) -> None:
    groups = {"penrose.executors": {"idscribe": "test_predict_plugins:IdScribe"}}
    groups["penrose.datasources"] = {"endless": "test_predict_plugins:Endless"}
    source = (
        "from rows_support import ScribeExecutor as IdScribe\nfrom run_support import MemorySource\n"
        "from penrose_host import Capability\n"
        "class Endless(MemorySource):\n    capabilities = frozenset({Capability.SEEK, Capability.UNBOUNDED})\n"
    )
    site.add("penrose-endless", groups, {"test_predict_plugins": source})
    path = tmp_path / "job.yaml"
    path.write_text(JOB.format(features=json.dumps(FEATURES), run_dir=tmp_path / "run"))
    support = str(Path(__file__).parents[1] / "support")
    environ = site.environ()
    environ["PYTHONPATH"] += os.pathsep + support
    trains = [sys.executable, "-c", PENROSE, "run", str(path), "--until", "rows=100"]
    subprocess.run(trains, check=True, env=environ, timeout=60, capture_output=True)
    command = [sys.executable, "-c", PENROSE, "predict", str(path), "--output", str(tmp_path / "out")]
    with subprocess.Popen(
        [*command, "--log-format", "json"], env=environ, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: list((tmp_path / "out").glob("*.parquet")) or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    last = json.loads(errors.splitlines()[-1])
    assert (last["event"], last["reason"]) == ("ended", "signal")
    assert last["rows"] == len(parts(tmp_path / "out")) > 0
    assert not list((tmp_path / "out").glob("*.tmp"))


# -- bad rows, and where the output goes -----------------------------------------------------------


def test_bad_rows_fail_or_are_counted_or_kept(tmp_path: Path, trained: Path) -> None:
    source = {"bad": [0, 77, 499]}
    with pytest.raises(BadRow, match="'p0', offset 0: made bad"):
        score(job(trained, source=source), tmp_path / "fail")
    assert score(job(trained, source=source, bad_rows="skip"), tmp_path / "skip").bad_rows == 3
    assert not (tmp_path / "skip" / "dead-letter.jsonl").exists()
    scored = score(job(trained, source=source, bad_rows="dead-letter"), tmp_path / "kept")
    assert (scored.rows, scored.bad_rows) == (997, 3)
    letters = [json.loads(line) for line in (tmp_path / "kept" / "dead-letter.jsonl").read_text().splitlines()]
    assert [letter["offset"] for letter in letters] == [0, 77, 499]


def test_an_output_that_is_not_empty_is_refused_unless_it_may_be_replaced(tmp_path: Path, trained: Path) -> None:
    out = tmp_path / "out"
    score(job(trained, checkpoint={"rows": 100, "seconds": None}), out)
    with pytest.raises(ConfigError, match=r"--output: .* is not empty.*--replace"):
        score(job(trained), out)
    (out / "part-000007.parquet.tmp").write_bytes(b"half a draft")
    score(job(trained, until={"rows": 10}), out, replace=True)
    assert [path.name for path in out.iterdir()] == ["part-000000.parquet"]


@pytest.mark.parametrize("output", ["run", ".", "run/predictions", "run/predictions/mine", "run/checkpoints/x"])
def test_the_run_s_own_files_are_never_the_output(tmp_path: Path, output: str) -> None:
    run(job(tmp_path / "run", until={"rows": 100}))
    before = content(tmp_path / "run")
    with pytest.raises(ConfigError, match="--output"):
        score(job(tmp_path / "run"), tmp_path / output, replace=True)
    assert content(tmp_path / "run") == before


def test_an_output_that_is_a_file_is_refused(tmp_path: Path, trained: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="is not a folder"):
        score(job(trained), tmp_path / "out")


def test_predictions_that_cannot_be_written_are_an_error_with_advice(tmp_path: Path, trained: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PenroseError, match=r"cannot write .*\n.*--output"):
        score(job(trained), tmp_path / "file" / "out")


def test_the_columns_are_those_of_a_run_s_predictions(tmp_path: Path, trained: Path) -> None:
    score(job(trained), tmp_path / "out")
    schemas = [pq.read_schema(next(folder.glob("*.parquet"))) for folder in (tmp_path / "out", trained / "predictions")]
    assert schemas[0] == schemas[1]
    assert schemas[0].field("event_time").type == pa.timestamp("us", "UTC")
