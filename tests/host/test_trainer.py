"""The core against a plain reference that handles one row at a time."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from rows_support import ScribeExecutor, make_rows

from penrose_host.core.merge import Merge
from penrose_host.core.metrics.config import MetricsConfig
from penrose_host.core.metrics.progressive import ProgressiveMetrics
from penrose_host.core.partition_names import Names
from penrose_host.core.progress import Progress
from penrose_host.core.rows import Rows
from penrose_host.core.trainer import Trainer, TrainerConfig
from penrose_host.errors import NonFiniteLoss, TrainingError


def make_trainer(order: str = "event_time", scored: list[Rows] | None = None, **config: Any) -> Trainer:
    names = Names()
    given = {"max_rows": 4, "span": 10, "labels_on_arrival": False, "max_waiting": 10_000} | config
    return Trainer(
        ScribeExecutor(),
        ProgressiveMetrics(("y",), MetricsConfig()),
        Merge(order, names),  # type: ignore[arg-type]
        TrainerConfig(heads=("y",), **given),
        Progress("test", names),
        on_scored=None if scored is None else scored.append,
    )


def log_of(trainer: Trainer) -> list[tuple[str, tuple[int, ...]]]:
    assert isinstance(trainer.executor, ScribeExecutor)
    return trainer.executor.log


def reference(rows: list[tuple[int, int, float]], max_rows: int, span: int | None) -> list[tuple[str, tuple[int, ...]]]:
    """What must happen to rows (event_time, known_at, label) of one partition: scored and trained offsets."""
    log: list[tuple[str, tuple[int, ...]]] = []
    batches: list[list[int]] = []
    clocks: list[int] = []
    for offset, (event_time, _, _) in enumerate(rows):
        clocks.append(max(event_time, clocks[-1] if clocks else event_time))
        same = batches and (span is None or clocks[batches[-1][0]] // span == clocks[offset] // span)
        if same and len(batches[-1]) < max_rows:
            batches[-1].append(offset)
        else:
            batches.append([offset])
    waiting: list[tuple[int, int]] = []

    def train(watermark: float) -> None:
        due = sorted(row for row in waiting if row[0] <= watermark)
        for first in range(0, len(due), max_rows):
            log.append(("train", tuple(offset for _, offset in due[first : first + max_rows])))
        waiting[:] = [row for row in waiting if row[0] > watermark]

    for batch in batches:
        train(clocks[batch[0]])
        log.append(("score", tuple(batch)))
        waiting += [(rows[offset][1], offset) for offset in batch if not math.isnan(rows[offset][2])]
    train(math.inf)
    return log


row = st.tuples(st.integers(0, 60), st.integers(0, 100), st.sampled_from([0.0, 1.0, math.nan]))


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(row, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    max_rows=st.integers(1, 7),
    span=st.sampled_from([None, 1, 7, 20]),
    stride=st.integers(1, 9),
)
def test_scores_and_trains_like_a_row_by_row_loop_however_rows_arrive(
    rows: list[tuple[int, int, float]], cuts: list[int], max_rows: int, span: int | None, stride: int
) -> None:
    rows = [(event_time, event_time + delay, label) for event_time, delay, label in sorted(rows, key=lambda r: r[0])]
    trainer = make_trainer(max_rows=max_rows, span=span)
    everything = make_rows([r[0] for r in rows], known_at=[r[1] for r in rows], label=[r[2] for r in rows])
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    for start, stop in pairwise(edges):
        trainer.add(everything.take(slice(start, stop)))
        while trainer.advance():
            trainer._stride = stride
    trainer.end()
    while trainer.advance():
        trainer._stride = stride
    assert log_of(trainer) == reference(rows, max_rows, span)
    assert trainer.progress.rows == len(rows)
    assert trainer.progress.trained_rows == sum(not math.isnan(r[2]) for r in rows)


@settings(max_examples=100, deadline=None)
@given(
    times=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), max_size=50),
    cuts=st.lists(st.integers(0, 50), max_size=8),
)
def test_merge_order_does_not_depend_on_how_partitions_arrive(times: list[tuple[str, int]], cuts: list[int]) -> None:
    lanes = {name: sorted(t for n, t in times if n == name) for name in "abc"}
    scored: list[Rows] = []
    trainer = make_trainer(scored=scored)
    trainer.merge.assign("abc")
    pieces = []
    for name, values in lanes.items():
        edges = sorted({0, len(values), *(c for c in cuts if c < len(values))})
        for start, stop in pairwise(edges):
            pieces.append(
                make_rows(values[start:stop], partition=[name] * (stop - start), offset=list(range(start, stop)))
            )
    for piece in sorted(pieces, key=lambda p: (int(p.offset[0]), p.names[0])):
        trainer.process(piece)
    trainer.end()
    while trainer.advance():
        pass
    seen = [
        (int(t), block.names[p], int(o))
        for block in scored
        for t, p, o in zip(block.event_time, block.partition, block.offset, strict=True)
    ]
    assert seen == sorted((t, name, offset) for name, values in lanes.items() for offset, t in enumerate(values))


def test_merge_waits_for_a_partition_that_has_given_nothing() -> None:
    trainer = make_trainer()
    trainer.merge.assign(["a", "b"])
    trainer.process(make_rows([1, 2, 50], partition=["a"] * 3))
    assert trainer.progress.rows == 0
    trainer.process(make_rows([30], partition=["b"]))
    assert trainer.progress.rows == 2
    trainer.end(["b"])
    while trainer.advance():
        pass
    assert trainer.progress.rows == 3


def test_idle_partition_stops_holding_the_merge_back() -> None:
    trainer = make_trainer()
    trainer.merge.assign(["a", "b"])
    trainer.process(make_rows([1, 2, 50], partition=["a"] * 3))
    trainer.idle(0.0)
    while trainer.advance():
        pass
    assert trainer.progress.rows == 2
    # It comes back with an old row: that row counts as of now, and nothing runs backwards.
    trainer.process(make_rows([0], partition=["b"]))
    trainer.process(make_rows([90], partition=["b"], offset=[1]))
    trainer.process(make_rows([95], partition=["a"], offset=[3]))
    assert trainer.progress.position().offsets == {"a": 3, "b": 1}


def test_arrival_order_takes_rows_as_they_come_and_waits_for_the_slowest_partition() -> None:
    trainer = make_trainer("arrival", span=None, max_rows=1)
    trainer.merge.assign(["a", "b"])
    trainer.process(make_rows([1], partition=["b"], offset=[100], known_at=[2]))
    trainer.process(make_rows([10], partition=["a"], known_at=[15]))
    trainer.process(make_rows([20], partition=["a"], offset=[1], known_at=[21]))
    assert log_of(trainer) == [("score", (100,)), ("score", (0,)), ("score", (1,))]
    trainer.process(make_rows([16], partition=["b"], offset=[101], known_at=[17]))
    assert log_of(trainer)[3:] == [("train", (100,)), ("train", (0,)), ("score", (101,))]


def test_labels_known_on_arrival_need_one_forward_pass() -> None:
    trainer = make_trainer(labels_on_arrival=True, span=None)
    trainer.process(make_rows([1, 2, 3, 4, 5, 6, 7, 8], label=[0, 1, 0, 1, 0, math.nan, 1, 0]))
    assert log_of(trainer) == [
        ("train", (0, 1, 2, 3)),
        ("score", (4, 5, 6, 7)),
        ("train", (4, 6, 7)),
    ]
    assert trainer.progress.trained_rows == 7


def test_limits_stop_at_micro_batches() -> None:
    trainer = make_trainer(span=None)
    trainer.add(make_rows(list(range(40))))
    while trainer.advance(until_rows=9):
        if trainer.progress.rows >= 9:
            break
    assert trainer.progress.rows == 12
    while trainer.advance(until_event_time=18):
        pass
    assert trainer.progress.rows == 20
    assert trainer.reached(18)


def test_a_gradient_that_is_not_finite_is_called_so() -> None:
    for losses, said in (({"y": 0.5}, "a gradient of step 3"), ({"y": 0.5, "z": float("nan")}, "the loss of step 3")):
        assert str(NonFiniteLoss(3, losses, {"p": 1})).startswith(f"{said} is not finite (y=0.5")


def test_non_finite_loss_stops_and_names_the_step_and_position() -> None:
    trainer = make_trainer(labels_on_arrival=True, span=None)
    assert isinstance(trainer.executor, ScribeExecutor)
    trainer.executor.broken_steps = {2}
    with pytest.raises(NonFiniteLoss) as caught:
        trainer.process(make_rows(list(range(12))))
    assert caught.value.sequence == 2
    assert caught.value.offsets == {"p": 8}


def test_non_finite_loss_can_be_skipped_and_is_counted() -> None:
    trainer = make_trainer(labels_on_arrival=True, span=None, non_finite="skip")
    assert isinstance(trainer.executor, ScribeExecutor)
    trainer.executor.broken_steps = {2}
    trainer.process(make_rows(list(range(12))))
    assert (trainer.progress.trained_rows, trainer.progress.skipped_rows) == (8, 4)


@pytest.mark.parametrize("labels_on_arrival", [True, False])
@pytest.mark.parametrize(
    ("method", "gives", "what"),
    [
        ("train", None, r"`train` gave None in step 1 instead of a StepResult"),
        ("train", {"y": 0.5}, r"`train` gave \{'y': 0\.5\} in step 1"),
        ("predict", {}, r"the scores of 'y' are not float32 \[4\]: KeyError"),
        ("predict", None, r"the scores of 'y' are not float32 \[4\]: TypeError"),
        ("predict", {"y": np.zeros((4, 2))}, r"the scores of 'y' are not float32 \[4\]: ValueError: .*\(4,2\)"),
        ("predict", {"y": "many"}, r"the scores of 'y' are not float32 \[4\]: ValueError"),
    ],
)
def test_an_executor_that_gives_something_else_is_named(
    monkeypatch: pytest.MonkeyPatch, labels_on_arrival: bool, method: str, gives: object, what: str
) -> None:
    trainer = make_trainer(labels_on_arrival=labels_on_arrival, span=None)
    monkeypatch.setattr(trainer.executor, method, lambda *_: gives)
    rows = make_rows(list(range(12)), label=[float("nan")] * 12 if method == "predict" else None)
    with pytest.raises(TrainingError, match=rf"rows_support\.ScribeExecutor .*{what}") as caught:
        trainer.process(rows)
    assert "ExecutorContract" in str(caught.value)


def test_too_many_waiting_rows_are_an_error_that_names_the_option() -> None:
    trainer = make_trainer(max_waiting=5, span=None)
    with pytest.raises(TrainingError, match=r"waiting\.max_rows"):
        trainer.process(make_rows(list(range(8)), known_at=[1000] * 8))


def test_final_release_trains_in_the_same_steps_however_it_is_interrupted() -> None:
    logs = []
    for stride in (1, 3, 1000):
        trainer = make_trainer(span=None, max_rows=4)
        generator = np.random.default_rng(1)
        trainer.process(make_rows(list(range(50)), known_at=generator.integers(100, 120, 50).tolist()))
        trainer.end()
        trainer._stride = stride
        while trainer.advance():
            trainer._stride = stride
        logs.append(log_of(trainer))
    assert logs[0] == logs[1] == logs[2]


def test_a_partition_that_only_waiting_rows_know_has_no_position() -> None:
    names = Names(["a"])
    progress = Progress("test", names)
    progress.seek({"a": 3})
    names.code("b")
    assert progress.position().offsets == {"a": 3}
    assert progress.clocks() == {}
