"""kill -9 of runs that train from Kafka: two topics of several partitions, and each row counts exactly once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_jobs import FILES, ROWS, TORCH, check_same_end, messages, predictions, reports, state, tables, write_job
from fault_kills import kill_one_by_one, killed_runs, numbered
from fault_runs import ANY, Aim, Workplace
from kafka_broker import Broker, Record

pytestmark = [pytest.mark.faults, pytest.mark.slow]

#: One after the other in one run directory, the most telling first.
AIMS = [
    Aim("checkpoint: all files, no manifest", 2),
    Aim("recovery: removing predictions"),
    Aim("source: commit"),
    Aim("checkpoint: between manifest and commit"),
    Aim("source: open"),
    Aim("source: read", 3),
    Aim("snapshot: being taken"),
    Aim("checkpoint: writing a table"),
    Aim("checkpoint: manifest written, not named"),
    Aim("restore: reading a part", 3),
    Aim("checkpoint: told"),
    Aim("executor: train", 60),
    Aim("checkpoint: between manifest and commit", 2),
    Aim("retention: files go", 2),
    Aim("report: the last one"),
]
#: Bad messages of each topic's first partition.
BAD = 50


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture(scope="module")
def topics(broker: Broker) -> list[str]:
    """Two topics, of three partitions and of two; the rows of a file keep their order in whichever partition."""
    found = [broker.create_topic("clicks", 3), broker.create_topic("views", 2)]
    for number in range(len(FILES)):
        partitions = 3 if number % 2 == 0 else 2
        records = [
            Record(message, partition=row % partitions, timestamp=1_700_000_000_000 + row)
            for row, message in enumerate(messages(number))
        ]
        broker.produce(found[number % 2], records)
    return found


def source(broker: Broker, topics: list[str], folder: Path, **options: Any) -> Mapping[str, Any]:
    """A stream that ends, with a consumer group of its own: the job's datasource."""
    group = f"{folder.parent.name}-{folder.name}-{topics[0]}"
    return {
        "name": "staged-kafka",
        "brokers": broker.address,
        "topics": topics,
        "end": "now",
        "group": group,
        **options,
    }


@pytest.fixture(scope="module")
def jobs(
    workplace: Workplace, data: Path, broker: Broker, topics: list[str]
) -> Iterator[dict[str, Future[list[Path]]]]:
    def read(folder: Path) -> Mapping[str, Any]:
        return source(broker, topics, folder)

    with killed_runs(workplace, data, "kafka", TORCH, AIMS, read) as runs:
        yield runs


@pytest.mark.parametrize("killed", ["at_random", "aimed"])
def test_a_run_that_was_killed_ends_in_the_same_bytes(jobs: dict[str, Future[list[Path]]], killed: str) -> None:
    [one] = jobs["uninterrupted"].result()
    assert predictions(one.parent / "run").num_rows == ROWS * len(FILES)
    for other in jobs[killed].result():
        check_same_end(one.parent / "run", other.parent / "run")
        assert tables(one) == tables(other)


def test_rows_taken_as_they_arrive_count_once(
    workplace: Workplace, tmp_path: Path, data: Path, broker: Broker, topics: list[str]
) -> None:
    counting = {"order": "arrival", "executor": {"name": "counting", "rows": ROWS * len(FILES)}}
    jobs = (
        write_job(folder / "job.yaml", data, folder / "run", datasource=source(broker, topics, folder), **counting)
        for folder in numbered(tmp_path)
    )
    aims = (
        Aim("executor: train", 40),
        Aim("source: commit"),
        Aim("checkpoint: between manifest and commit"),
        Aim("snapshot: being taken"),
        Aim("checkpoint: all files, no manifest"),
        Aim("recovery: removing predictions"),
        Aim(ANY, 40),
        Aim(ANY, 150),
        Aim("report: the last one"),
    )
    for job in kill_one_by_one(workplace, "kafka, arrival", aims, jobs):
        check_every_row_once(job.parent / "run")


def check_every_row_once(run_dir: Path) -> None:
    counts = np.frombuffer(state(run_dir)["executor/counts.bin"], dtype=np.int32)
    rows = predictions(run_dir)
    assert rows.group_by(["_partition", "_offset"]).aggregate([]).num_rows == rows.num_rows == ROWS * len(FILES)
    assert counts.max() == 1
    assert counts.sum() == rows.num_rows - rows["label"].null_count


@pytest.fixture(scope="module")
def spoiled(broker: Broker) -> tuple[str, dict[bytes, bytes]]:
    """A topic with bad messages among good ones, and key of its letter → bytes of each bad one."""
    topic = broker.create_topic("spoiled", 2)
    bad = {f"{topic}/1/{number * 100}".encode(): b'{"row": "\xff%d"}' % number for number in range(BAD)}
    values = messages(0)
    for number, message in enumerate(bad.values()):
        values.insert(number * 100, message)
    broker.produce(topic, [Record(value, partition=1) for value in values])
    return topic, bad


@pytest.mark.parametrize(
    "aim",
    [
        Aim("executor: train", 20),
        Aim("checkpoint: all files, no manifest"),
        Aim("checkpoint: between manifest and commit"),
        Aim("letters: sent, not noted"),
        Aim("report: the last one"),
    ],
    ids=lambda aim: aim.phase,
)
def test_dead_letters_come_at_least_once_and_rows_exactly_once(
    workplace: Workplace,
    tmp_path: Path,
    data: Path,
    broker: Broker,
    spoiled: tuple[str, dict[bytes, bytes]],
    aim: Aim,
) -> None:
    topic, bad = spoiled
    dead = broker.create_topic("dead", 1)
    read = source(broker, [topic], tmp_path, dead_letter_topic=dead)
    changes = {"bad_rows": "dead-letter", "executor": {"name": "counting", "rows": ROWS * len(FILES)}}
    job = write_job(tmp_path / "job.yaml", data, tmp_path / "run", datasource=read, **changes)
    workplace.kill_at("kafka, dead letters", aim, "run", job)
    workplace.penrose("run", job).check()
    assert reports(tmp_path / "run")[-1]["bad_rows"] == BAD
    counts = np.frombuffer(state(tmp_path / "run")["executor/counts.bin"], dtype=np.int32)
    assert counts.max() == 1
    letters = broker.consume(dead)
    assert {letter.key(): letter.value() for letter in letters} == bad
    if aim.phase == "letters: sent, not noted":
        assert len(letters) > BAD
    headers = dict(letters[0].headers())
    assert headers["penrose.partition"] == f"{topic}/1".encode()
    assert json.loads(headers["penrose.offset"]) % 100 == 0
    assert b"UTF-8" in headers["penrose.reason"]


def test_what_came_behind_the_start_is_not_lost_where_no_row_had_come_yet(
    workplace: Workplace, tmp_path: Path, data: Path, broker: Broker
) -> None:
    topic = broker.create_topic("later", 2)
    rows = messages(0)
    broker.produce(topic, [Record(message, partition=row % 2) for row, message in enumerate(rows[:10])])
    read = {name: value for name, value in source(broker, [topic], tmp_path).items() if name != "end"}
    changes = {"order": "arrival", "executor": {"name": "counting", "rows": ROWS * len(FILES)}}
    job = write_job(tmp_path / "job.yaml", data, tmp_path / "run", datasource={**read, "start": "latest"}, **changes)
    workplace.kill_at("kafka, latest", Aim("checkpoint: told"), "run", job)
    broker.produce(topic, [Record(message, partition=row % 2) for row, message in enumerate(rows[10:202])])
    workplace.penrose("run", job, "--until", "rows=192").check()
    offsets = predictions(tmp_path / "run")["_offset"].to_pylist()
    assert sorted(offsets) == sorted([*range(5, 101)] * 2)
