"""Runs over what is in topics now: they end, and go on later as if they had never stopped."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from kafka_broker import Broker, Record
from run_support import FEATURES, MemorySource, batch, final_state, make_job, predictions, reports

from penrose_host import StopRequest
from penrose_host.checkpoints import CheckpointStore
from penrose_host.contracts.environment import RunResult
from penrose_host.core import merge
from penrose_host.errors import SourceError
from penrose_host.training import pull_driver
from penrose_host.training.runtime import run
from penrose_host.training.scoring import score
from penrose_kafka.source.kafka_source import KafkaSource

OUTPUT = {"predictions": "predictions"}
NOW = {"stream": "now"}


def records(partition: int, first: int, count: int) -> list[Record]:
    """Rows of a partition, a few microseconds apart, whose labels come late."""
    rows = batch(f"p{partition}", list(range(first, first + count))).drop_columns(["_partition", "_offset"])
    return [Record(json.dumps(row).encode(), partition=partition) for row in rows.to_pylist()]


def job(run_dir: Path, kafka: Broker, topic: str, *, source: dict[str, Any] | None = None, **fields: Any) -> Any:
    options = {"brokers": kafka.address, "topics": topic, "group": None, **(source or {})}
    return make_job(run_dir, datasource=KafkaSource, source=options, **{"output": OUTPUT, "until": NOW, **fields})


@contextmanager
def bounded_wait(seconds: float = 30.0) -> Iterator[StopRequest]:
    """A run that would not end is stopped, and then fails by its reason."""
    stop = StopRequest()
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    try:
        yield stop
    finally:
        timer.cancel()


def ran(resolved: Any) -> RunResult:
    with bounded_wait() as stop:
        return run(resolved, stop=stop)


@pytest.mark.parametrize("fields", [{}, {"idle": "30s"}, {"order": "arrival", "micro_batch": {"rows": 7}}])
def test_runs_until_now_end_like_one_that_was_not_interrupted(
    kafka: Broker, tmp_path: Path, fields: dict[str, Any]
) -> None:
    # Under `idle` and `arrival` what is trained depends on when it came: one partition is then read as it is.
    partitions = 1 if fields else 2
    topic = kafka.create_topic("parts", partitions)
    rows = 0
    for counts in ((150, 100), (0, 0), (130, 180), (1, 3)):
        for partition, there in enumerate(rows_of(kafka, topic, partitions)):
            kafka.produce(topic, records(partition, there, counts[partition]))
        result = ran(job(tmp_path / "several", kafka, topic, **fields))
        assert result.reason == "until"
        assert result.rows >= rows
        rows = result.rows
    assert rows > 250
    one = ran(job(tmp_path / "one", kafka, topic, **fields))
    assert (one.reason, one.rows) == ("until", rows)
    several = tmp_path / "several"
    assert predictions(several) == predictions(tmp_path / "one")
    assert final_state(several) == final_state(tmp_path / "one")
    assert reports(several)[:-1] == reports(tmp_path / "one")[:-1]
    # The stream ends, and releases what waits: the same again.
    ends = {"source": {"end": "now"}, "until": {}}
    for name in ("several", "one"):
        assert ran(job(tmp_path / name, kafka, topic, **fields, **ends)).reason == "end-of-stream"
    whole = sum(rows_of(kafka, topic, partitions))
    assert len(predictions(several)) == whole
    assert predictions(several) == predictions(tmp_path / "one")
    assert final_state(several) == final_state(tmp_path / "one")


def rows_of(kafka: Broker, topic: str, partitions: int) -> list[int]:
    return [kafka.offsets(topic, partition)[1] for partition in range(partitions)]


def test_labels_that_wait_go_on_waiting(kafka: Broker, tmp_path: Path) -> None:
    topic = kafka.create_topic("waits")
    kafka.produce(topic, records(0, 0, 160))
    assert ran(job(tmp_path, kafka, topic)).rows == 160
    trained = reports(tmp_path)[-1]["trained_rows"]
    labelled = sum(row["label"] is not None for row in predictions(tmp_path))
    assert 0 < trained < labelled
    ran(job(tmp_path, kafka, topic, source={"end": "now"}, until={}))
    assert reports(tmp_path)[-1]["trained_rows"] == labelled


@pytest.mark.parametrize(("idle", "rows"), [("20s", 320), (None, 0)])
def test_a_silent_partition_holds_nothing_back_where_idle_says_so(
    kafka: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idle: str | None, rows: int
) -> None:
    # Small, so that partitions are held back and have to be let go on.
    monkeypatch.setattr(merge, "AHEAD", 40)
    topic = kafka.create_topic("silent", 3)
    kafka.produce(topic, records(0, 0, 160) + records(2, 0, 160))
    result = ran(job(tmp_path, kafka, topic, idle=idle))
    assert (result.reason, result.rows) == ("until", rows)


def test_a_partition_that_ran_ahead_goes_on_when_the_silent_one_is_waited_for_no_longer(
    kafka: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "AHEAD", 40)
    monkeypatch.setattr(pull_driver, "CHUNK_ROWS", 10)
    topic = kafka.create_topic("ahead", 2)
    kafka.produce(topic, records(0, 0, 9600) + records(1, 0, 1))
    # An endless run: nothing but the clock says that partition 1 will give no more.
    result = ran(job(tmp_path, kafka, topic, idle="1s", until={"rows": 9600}, micro_batch={"rows": 16}))
    assert (result.reason, result.rows) == ("until", 9600)


@pytest.mark.parametrize("source", [{}, {"end": "now"}])
def test_a_bound_by_offsets(kafka: Broker, tmp_path: Path, source: dict[str, Any]) -> None:
    topic = kafka.create_topic("offsets", 2)
    kafka.produce(topic, records(0, 0, 100) + records(1, 0, 100))
    bound = {f"{topic}/0": 32, f"{topic}/1": 48}
    result = ran(job(tmp_path, kafka, topic, until={"stream": bound}, order="arrival", source=source))
    assert (result.reason, result.rows) == ("until", 80)
    found: dict[str, list[int]] = {}
    for row in predictions(tmp_path):
        found.setdefault(row["_partition"], []).append(row["_offset"])
    assert found == {name: list(range(count)) for name, count in bound.items()}


def test_an_empty_topic_is_read_at_once_and_what_comes_later_is_not_lost(kafka: Broker, tmp_path: Path) -> None:
    topic = kafka.create_topic("later", 2)
    kafka.produce(topic, records(0, 0, 50))
    options: dict[str, Any] = {"source": {"start": "latest"}, "order": "arrival"}
    result = ran(job(tmp_path, kafka, topic, **options))
    assert (result.reason, result.rows) == ("until", 0)
    kafka.produce(topic, records(0, 50, 32) + records(1, 0, 32))
    result = ran(job(tmp_path, kafka, topic, **options))
    assert (result.reason, result.rows) == ("until", 64)
    assert {row["_offset"] for row in predictions(tmp_path) if row["_partition"].endswith("/0")} == set(range(50, 82))
    # And nothing new is no reason to write or to wait.
    before = CheckpointStore(tmp_path / "checkpoints").ids()
    result = ran(job(tmp_path, kafka, topic, **options))
    assert (result.reason, result.rows) == ("until", 64)
    assert CheckpointStore(tmp_path / "checkpoints").ids() == before


def test_an_unknown_partition_in_the_bound_is_an_error_before_anything_is_read(kafka: Broker, tmp_path: Path) -> None:
    topic = kafka.create_topic("unknown")
    with pytest.raises(SourceError, match=r"`until\.stream` names nowhere/0"):
        ran(job(tmp_path, kafka, topic, until={"stream": {"nowhere/0": 3}}))


def test_a_datasource_that_cannot_tell_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot say where its stream is at `until\.stream`") as caught:
        ran(make_job(tmp_path, datasource=MemorySource, until=NOW))
    assert "--until rows=N" in (caught.value.hint or "")


def test_a_checkpoint_scores_what_is_there_now(kafka: Broker, tmp_path: Path) -> None:
    topic = kafka.create_topic("scored", 3)
    kafka.produce(topic, records(0, 0, 100) + records(2, 0, 55))
    ran(job(tmp_path / "run", kafka, topic))
    with bounded_wait() as stop:
        scored = score(job(tmp_path / "run", kafka, topic), tmp_path / "out", stop=stop)
    assert (scored.reason, scored.rows) == ("until", 155)
    with bounded_wait() as stop:
        empty = kafka.create_topic("nothing", 3)
        scored = score(job(tmp_path / "run", kafka, empty), tmp_path / "none", stop=stop)
    assert (scored.reason, scored.rows) == ("until", 0)


@pytest.mark.slow
def test_as_people_type_it(kafka: Broker, tmp_path: Path, site: Any) -> None:
    topic = kafka.create_topic("typed", 2)
    kafka.produce(topic, records(0, 0, 80) + records(1, 0, 80))
    fields = {
        "name": "typed",
        "datasource": {"name": "kafka", "brokers": kafka.address, "topics": topic},
        "executor": {"name": "torch", "model": "logistic"},
        "features": FEATURES,
        "micro_batch": {"rows": 16},
        "order": "arrival",
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(fields))
    for rows in (160, 160):
        done = site.penrose("run", "job.yaml", "--until", "now")
        assert done.returncode == 0, done.stderr
        assert "reached --until" in done.stdout + done.stderr
        last = json.loads((tmp_path / "runs/typed/metrics.jsonl").read_text().splitlines()[-1])
        assert last["rows"] == rows
    done = site.penrose("predict", "job.yaml", "--until", "now", "--output", "out")
    assert done.returncode == 0, done.stderr
    assert "160" in done.stdout + done.stderr
