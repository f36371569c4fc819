"""What a job or an executor asks of the backend, the table does: admission, eviction in time, limits in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from penrose_host.contracts.batch import Position, StepInfo
from penrose_host.contracts.embedding import TableSpec
from penrose_host.errors import ConfigError, TrainingError
from penrose_tfplus.backend import TfplusBackend
from penrose_tfplus.backend_table import TfplusTable

SECOND = 1_000_000


def made(options: Mapping[str, Any], **spec: Any) -> TfplusTable:
    backend = TfplusBackend(TfplusBackend.Options(threads=1, **options))
    return backend.table(TableSpec("users", 4, **{"initializer": ("constant", {"value": 1.0}), **spec}))


def train(table: TfplusTable, *keys: int, seconds: int | None = 0) -> Any:
    rows = table.lookup(np.array(keys, np.int64), train=True)
    time = None if seconds is None else lambda: seconds * SECOND
    table.apply(
        np.array(keys, np.int64), np.ones((len(keys), 4), np.float32), StepInfo(0, 0, 0, lambda: Position("s"), time)
    )
    return rows


def keys_of(table: TfplusTable) -> list[int]:
    return [key for batch in table.export_rows() for key in batch.column("key").to_pylist()]


ADMIT_TWICE = [({"admission": {"count": 2}}, {}), ({}, {"admission": ("count", {"count": 2.0})})]


@pytest.mark.parametrize(("options", "spec"), ADMIT_TWICE)
def test_keys_are_admitted_by_count_and_read_zeros_until_then(options: Any, spec: Any) -> None:
    table = made(options, **spec)
    assert (train(table, 1) == 0).all()
    assert (table.lookup(np.array([1, 2]), train=False) == 0).all()
    assert (train(table, 1) == 1).all()
    assert keys_of(table) == [1]
    assert table.stats().counters["candidates"] == 0


def test_where_all_are_admitted_unseen_keys_score_with_their_first_value() -> None:
    assert (made({}).lookup(np.array([5]), train=False) == 1).all()


@pytest.mark.parametrize(
    ("options", "spec"),
    [({"admission": {"probability": 0.5}}, {}), ({}, {"admission": ("probability", {"probability": 0.5})})],
)
def test_keys_are_admitted_by_chance(options: Any, spec: Any) -> None:
    table = made(options, **spec)
    train(table, *range(2000))
    assert 850 < table.stats().rows < 1150


AGES = [
    ({"eviction": {"max_age": "10s", "every": 3}}, {}),
    ({}, {"eviction": ("age", {"max_age": 10.0 * SECOND, "every": 3})}),
]


@pytest.mark.parametrize(("options", "spec"), AGES)
def test_rows_age_by_event_time_and_go_every_so_many_steps(options: Any, spec: Any) -> None:
    table = made(options, **spec)
    train(table, 1, seconds=100)
    train(table, 2, seconds=105)
    train(table, 3, seconds=110)  # 1 is just 10 seconds old
    assert keys_of(table) == [1, 2, 3]
    train(table, 3, seconds=200)
    train(table, 3, seconds=200)
    assert keys_of(table) == [1, 2, 3]
    train(table, 4, seconds=200)
    assert keys_of(table) == [3, 4]
    assert table.stats().counters["evicted"] == 2


def test_a_step_whose_time_is_not_known_is_as_late_as_the_one_before() -> None:
    table = made({"eviction": {"max_age": "10s", "every": 3}})
    train(table, 1, seconds=100)
    train(table, 2, seconds=None)
    train(table, 3, seconds=105)
    assert keys_of(table) == [1, 2, 3]


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (("frequency", {"min_count": 2.0, "every": 1.0}), [1]),
        (("norm", {"min_norm": 1.0, "every": 1}), [1, 2]),
        (("rows", {"max_rows": 1, "every": 1}), [2]),
        (("rows", {"max_rows": 1}), [1, 2]),  # every 1000 steps
    ],
)
def test_each_policy_of_a_specification(policy: Any, left: list[int]) -> None:
    table = made({}, eviction=policy, optimizer=("sgd", {"learning_rate": 0.0}))
    train(table, 1, 1, 2, seconds=1)
    if policy[0] == "rows":
        train(table, 2, seconds=2)
    assert keys_of(table) == left


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ({"admission": ("often", {})}, "'often' does not exist; there are count, probability"),
        ({"admission": ("count", {})}, "count needs the parameter 'count'"),
        ({"admission": ("count", {"count": 0})}, "greater than or equal to 1"),
        ({"admission": ("count", {"count": 1.5})}, "valid integer"),
        ({"admission": ("count", {"count": 2, "probability": 0.5})}, "one of them"),
        ({"admission": ("count", {"count": 2, "n": 3})}, "n: Extra inputs"),
        ({"eviction": ("oldest", {})}, "'oldest' does not exist; there are age, frequency, norm, rows"),
        ({"eviction": ("age", {"every": 5})}, "age needs the parameter 'max_age'"),
        ({"eviction": ("age", {"max_age": -5})}, "not a duration"),
        ({"eviction": ("age", {"max_age": float("nan")})}, "not a duration"),
        ({"eviction": ("rows", {"max_rows": 0})}, "greater than or equal to 1"),
    ],
)
def test_policies_that_cannot_be_are_refused(spec: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as raised:
        made({}, **spec)
    assert "table 'users'" in str(raised.value)


@pytest.mark.parametrize(
    "options",
    [
        {"admission": {}},
        {"admission": {"count": 2, "probability": 0.5}},
        {"admission": {"count": 0}},
        {"eviction": {"max_age": 10}},
        {"eviction": {"max_age": "-1s"}},
        {"eviction": {"every": 0}},
        {"max_rows": 0},
        {"max_bytes": 5},
        {"shards": 3},
        {"threads": 0},
        {"at_limit": "stop"},
        {"non_finite": "stop"},
        {"rows": 5},
    ],
)
def test_options_that_cannot_be_are_refused(options: Any) -> None:
    with pytest.raises(ValidationError):
        TfplusBackend.Options(**options)


def test_a_limit_in_bytes_holds_as_many_rows_as_fit() -> None:
    table = made({"max_bytes": 1 << 24})

    def fill() -> None:
        for start in range(0, 10_000_000, 10_000):
            table.lookup(np.arange(start, start + 10_000), train=True)

    with pytest.raises(TrainingError, match="may hold") as raised:
        fill()
    assert "at_limit: evict" in str(raised.value.hint)
    rows = table.stats().rows
    assert (1 << 24) / 100 < rows < (1 << 24) / (4 * 4 + 16)


def test_at_a_limit_in_rows_the_oldest_go_where_the_job_says_so() -> None:
    table = made({"max_rows": 100, "at_limit": "evict"})
    for start in range(0, 1000, 50):
        train(table, *range(start, start + 50), seconds=start)
    assert table.stats().rows <= 100
    assert keys_of(table)[-50:] == list(range(950, 1000))


def test_bad_gradients_are_left_out_where_the_job_says_so() -> None:
    table, step = made({"non_finite": "skip"}), StepInfo(0, 0, 0, lambda: Position("s"))
    keys = np.array([1, 2], np.int64)
    table.lookup(keys, train=True)
    gradients = np.ones((2, 4), np.float32)
    gradients[0, 0] = np.nan
    table.apply(keys, gradients, step)
    rows = table.lookup(keys, train=False)
    assert (rows[0] == 1).all()
    assert (rows[1] < 1).all()
    assert table.stats().counters["skipped_rows"] == 1
