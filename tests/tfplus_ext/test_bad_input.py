"""Bad input is an error that says what is wrong, and the table is as it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from table_content import content

from penrose_host.contracts.batch import Position, StepInfo
from penrose_host.contracts.embedding import TableSpec
from penrose_host.errors import ConfigError, TrainingError
from penrose_tfplus import BadGradient, Table
from penrose_tfplus.backend import TfplusBackend

KEYS = np.array([1, 2, 2, 3], np.int64)
GRADIENTS = np.ones((4, 2), np.float32)
NEW = np.array([7, 8, 8, 9], np.int64)


@pytest.fixture
def table() -> Table:
    """With some rows, trained a little, and some keys that wait for nothing."""
    made = Table(2, optimizer="adam", initializer="normal", threads=1)
    made.lookup(KEYS, train=True)
    made.apply(KEYS, GRADIENTS, time=5_000_000)
    return made


def refused(table: Table, operation: Callable[[], object], match: str, error: type[Exception] = ValueError) -> None:
    before = content(table)
    with pytest.raises(error, match=match):
        operation()
    assert content(table) == before


# -- keys and rows ---------------------------------------------------------------------------------

BAD_KEYS: list[tuple[Any, str]] = [
    (NEW.astype(np.int32), r"keys must be int64 \[n\], not int32 \[4\]"),
    (NEW.astype(np.uint64), "not uint64"),
    (NEW.astype(np.float64), "not float64"),
    (NEW.astype(">i8"), "not >i8"),
    (NEW.astype(object), "not object"),
    (NEW.reshape(2, 2), r"not int64 \[2, 2\]"),
    (np.int64(7), "not int64|not a NumPy array|not int"),
    (np.array(7, np.int64), r"not int64 \[\]"),
    ([7, 8], "keys must be an int64 array.*, not list"),
    (7, "not int"),
    (None, "not NoneType"),
    ("seven", "not str"),
    (torch.tensor([7, 8]), "not Tensor"),
    (pa.array([7, None]), "keys must have no nulls, and 1"),
    (pa.array([7, 8], pa.int32()), "not int32"),
    (pa.array(["a"]), "."),
    (pa.array([True]), "."),
]


@pytest.mark.parametrize(("keys", "match"), BAD_KEYS, ids=range(len(BAD_KEYS)))
def test_keys_of_another_type_or_shape_are_refused_by_every_operation(table: Table, keys: Any, match: str) -> None:
    for operation in (
        lambda: table.lookup(keys, train=True),
        lambda: table.lookup(keys),
        lambda: table.apply(keys, GRADIENTS),
        lambda: table.write(keys, GRADIENTS),
        lambda: table.contains(keys),
        lambda: table.counts(keys),
        lambda: table.times(keys),
        lambda: table.slots(keys),
        lambda: table.delete(keys),
    ):
        refused(table, operation, match)


BAD_ROWS: list[tuple[Any, str]] = [
    (np.ones((4, 2)), r"must be float32 \[4, 2\], not float64 \[4, 2\]"),
    (np.ones((4, 3), np.float32), r"not float32 \[4, 3\]"),
    (np.ones((3, 2), np.float32), r"not float32 \[3, 2\]"),
    (np.ones((5, 2), np.float32), r"not float32 \[5, 2\]"),
    (np.ones(8, np.float32), r"not float32 \[8\]"),
    (np.ones((4, 2), ">f4"), "not >f4"),
    (np.ones((4, 2), np.int32), "not int32"),
    (np.float32(1), "must be float32"),
    ([[1.0, 1.0]] * 4, "must be float32.*, not list"),
    (torch.ones(4, 2), "must be float32.*, not Tensor"),
    (None, "not NoneType"),
]


@pytest.mark.parametrize(("rows", "match"), BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_rows_of_another_type_or_shape_are_refused(table: Table, rows: Any, match: str) -> None:
    for keys in (KEYS, NEW):
        refused(table, lambda keys=keys: table.apply(keys, rows), match)
        refused(table, lambda keys=keys: table.write(keys, rows), match)


def test_arrays_in_any_layout_are_read_as_what_they_hold(table: Table) -> None:
    keys, gradients = np.arange(10, 14), np.arange(8, dtype=np.float32).reshape(4, 2) - 3
    expected = Table(2, optimizer="adam", initializer="normal", threads=1)
    expected.lookup(keys, train=True)
    expected.apply(keys, gradients)
    frozen_keys, frozen = keys.copy(), gradients.copy()
    frozen_keys.flags.writeable = frozen.flags.writeable = False
    shifted = np.frombuffer(b"x" + keys.tobytes(), np.int64, offset=1)
    shifted_rows = np.frombuffer(b"x" + gradients.tobytes(), np.float32, offset=1).reshape(4, 2)
    for given_keys, given in (
        (np.repeat(keys, 3)[::3], np.asfortranarray(gradients)),
        (keys[::-1].copy()[::-1], np.repeat(gradients, 2, axis=1)[:, ::2]),
        (frozen_keys, frozen),
        (shifted, shifted_rows),
        (pa.array(keys), gradients),
        (pa.array([0, *keys.tolist()]).slice(1), gradients),
        (pa.chunked_array([keys[:1], keys[1:]]), gradients),
    ):
        table = Table(2, optimizer="adam", initializer="normal", threads=1)
        rows = table.lookup(given_keys, train=True)
        np.testing.assert_array_equal(rows, table.lookup(keys))
        table.apply(given_keys, given)
        assert content(table) == content(expected)
        table.write(given_keys, given)
        np.testing.assert_array_equal(table.lookup(keys), gradients)


def test_empty_batches_do_nothing(table: Table) -> None:
    for keys in (np.empty(0, np.int64), pa.array([], pa.int64())):
        assert table.lookup(keys).shape == table.lookup(keys, unseen="first").shape == (0, 2)
        assert table.lookup(keys, train=True).shape == (0, 2)
        table.apply(keys, np.empty((0, 2), np.float32), time=5_000_000)
        table.write(keys, np.empty((0, 2), np.float32))
        assert table.contains(keys).shape == table.counts(keys).shape == table.times(keys).shape == (0,)
        assert all(len(values) == 0 for values in table.slots(keys).values())
        assert table.delete(keys) == 0
    assert table.keys().tolist() == [1, 2, 3]
    assert Table(2, threads=1).keys().shape == (0,)
    assert Table(2, threads=1).evict(before=10, min_count=1, min_norm=1.0, max_rows=0) == 0


# -- gradients -------------------------------------------------------------------------------------

BAD = [math.nan, math.inf, -math.inf, 1e18, -3e38]


@pytest.mark.parametrize("keys", [KEYS, NEW], ids=["known", "new"])
@pytest.mark.parametrize("number", BAD)
@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("looked_up", [False, True])
def test_a_gradient_that_is_not_finite_is_refused(
    table: Table, keys: Any, number: float, place: int, looked_up: bool
) -> None:
    gradients = GRADIENTS.copy()
    gradients[place, 1] = number
    if looked_up:
        table.lookup(keys, train=True)
    refused(table, lambda: table.apply(keys, gradients, time=9_000_000), "1 row", BadGradient)
    table.apply(keys, GRADIENTS)  # and the same batch can be tried again


def test_gradients_that_become_infinite_when_they_are_added_are_refused(table: Table) -> None:
    gradients = np.full((4, 2), 3e38, np.float32)
    refused(table, lambda: table.apply(KEYS, gradients), "3 rows", BadGradient)
    many = np.zeros(5000, np.int64)  # shared among threads
    refused(table, lambda: table.apply(many, np.full((5000, 2), 1e15, np.float32)), "1 row", BadGradient)


@pytest.mark.parametrize("looked_up", [False, True])
def test_rows_whose_gradient_is_not_finite_can_be_left_out_and_are_counted(looked_up: bool) -> None:
    table, expected = (Table(2, optimizer="adam", initializer="normal", threads=1) for _ in range(2))
    for each in (table, expected):
        each.write(KEYS, GRADIENTS)
    bad = GRADIENTS.copy()
    bad[1] = math.nan
    if looked_up:
        for each in (table, expected):
            each.lookup(KEYS, train=True)
    table.apply(KEYS, bad, time=3_000_000, skip_non_finite=True)
    expected.apply(KEYS[[0, 3]], GRADIENTS[[0, 3]], time=3_000_000)
    assert table.counters["skipped_rows"] == 1
    assert content(table)[:-1] == content(expected)[:-1]
    # The batch that was looked up serves once more, with all its rows.
    table.apply(KEYS, GRADIENTS)
    expected.apply(KEYS, GRADIENTS)
    assert content(table)[:-1] == content(expected)[:-1]


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"before": -1}, {"min_count": -1}, {"min_norm": -0.5}, {"max_rows": -1}])
def test_negative_bounds_are_refused(table: Table, options: dict[str, Any]) -> None:
    refused(table, lambda: table.evict(**options), f"{next(iter(options))} must not be negative")


@pytest.mark.parametrize("options", [{"min_norm": math.nan}, {"max_rows": 2**63}, {"before": math.inf}])
def test_bounds_that_are_no_numbers_or_too_large_are_refused(table: Table, options: dict[str, Any]) -> None:
    refused(table, lambda: table.evict(**options), next(iter(options)))


@pytest.mark.parametrize("options", [{"min_count": 1.5}, {"max_rows": 0.5}])
def test_counts_must_be_whole(table: Table, options: dict[str, Any]) -> None:
    refused(table, lambda: table.evict(**options), ".", TypeError)


@pytest.mark.parametrize("rate", [-0.1, math.nan, math.inf, 1e39])
def test_learning_rates_must_be_finite_and_not_negative(table: Table, rate: float) -> None:
    refused(table, lambda: table.apply(KEYS, GRADIENTS, learning_rate=rate), "learning_rate must be a")


@pytest.mark.parametrize("name", ["ftrl", "sparse_group_ftrl"])
def test_a_learning_rate_that_the_rule_divides_by_is_not_zero(name: str) -> None:
    table = Table(2, optimizer=name, threads=1)
    table.apply(KEYS, GRADIENTS)
    refused(table, lambda: table.apply(KEYS, GRADIENTS, learning_rate=0.0), "learning_rate must be a")


def test_unknown_words_are_refused(table: Table) -> None:
    refused(table, lambda: table.lookup(NEW, train=True, unseen="frist"), "unseen must be zeros or first, not 'frist'")
    refused(table, lambda: table.write(KEYS, GRADIENTS, "assing"), "op must be one of assign, .*, not 'assing'")


BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"width": 0}, "width must be from 1 to 1024, not 0"),
    ({"width": 1025}, "width"),
    ({"width": -1}, "width"),
    ({"optimizer": "adamm"}, "there is no optimizer 'adamm'; there are sgd, adagrad"),
    ({"optimizer": ""}, "there is no optimizer"),
    ({"optimizer_parameters": {"lr": 0.1}}, "adagrad has no parameter 'lr'; its parameters: learning_rate, "),
    ({"optimizer": "sgd", "optimizer_parameters": {"beta1": 0.1}}, "sgd has no parameter 'beta1'"),
    ({"optimizer_parameters": {"learning_rate": -1.0}}, "learning_rate must be a number from 0 "),
    ({"optimizer_parameters": {"learning_rate": math.nan}}, "learning_rate"),
    ({"optimizer_parameters": {"learning_rate": math.inf}}, "learning_rate"),
    ({"optimizer_parameters": {"learning_rate": 1e39}}, "learning_rate"),
    ({"optimizer_parameters": {"learning_rate": "0.1"}}, "learning_rate"),
    ({"optimizer_parameters": {"learning_rate": True}}, "learning_rate"),
    ({"optimizer_parameters": {"learning_rate": None}}, "learning_rate"),
    ({"optimizer_parameters": {"epsilon": 0.0}}, "epsilon"),
    ({"optimizer": "adam", "optimizer_parameters": {"beta2": 1.0}}, "beta2"),
    ({"optimizer": "sparse_group_ftrl", "optimizer_parameters": {"lr_power": 0.5}}, "lr_power"),
    ({"optimizer": "group_adam", "optimizer_parameters": {"l21": -0.5}}, "l21"),
    ({"optimizer": "ftrl", "optimizer_parameters": {"learning_rate": 0.0}}, "learning_rate"),
    ({"initializer": "gaussian"}, "there is no initializer 'gaussian'; there are zeros, constant"),
    ({"initializer_parameters": {"value": 1.0}}, "zeros has no parameter 'value'; its parameters: none"),
    ({"initializer": "normal", "initializer_parameters": {"stddev": -1.0}}, "stddev"),
    ({"initializer": "normal", "initializer_parameters": {"mean": math.nan}}, "mean"),
    ({"initializer": "uniform", "initializer_parameters": {"high": 1e39}}, "high"),
    ({"admit_count": 0}, "admit_count"),
    ({"admit_count": -3}, "admit_count"),
    ({"admit_count": 2**32}, "admit_count"),
    ({"admit_probability": 0.0}, "admit_probability"),
    ({"admit_probability": 1.5}, "admit_probability"),
    ({"admit_probability": math.nan}, "admit_probability"),
    ({"admit_count": 2, "admit_probability": 0.5}, "not both"),
    ({"max_rows": 0}, "max_rows"),
    ({"max_rows": -5}, "max_rows"),
    ({"max_rows": 2**64}, "max_rows"),
    ({"at_limit": "stop"}, "at_limit must be fail or evict, not 'stop'"),
    ({"admission": 2}, "there is no option 'admission'; there are optimizer, optimizer_parameters, "),
    ({"shards": 0}, "shards must be from 1 to 4096, not 0"),
    ({"shards": 3}, "shards must be a power of two"),
    ({"shards": -1}, "shards"),
    ({"shards": 8192}, "shards"),
    ({"threads": 0}, "threads must be from 1 to 256"),
    ({"threads": -1}, "threads"),
    ({"threads": 257}, "threads"),
]


@pytest.mark.parametrize(("options", "match"), BAD_OPTIONS, ids=range(len(BAD_OPTIONS)))
def test_options_that_cannot_be_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Table(**{"width": 2, **options})


@pytest.mark.parametrize("options", [{"width": 2.0}, {"max_rows": 1.5}, {"admit_count": 1.5}, {"threads": "2"}])
def test_sizes_must_be_whole(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Table(**{"width": 2, **options})


def test_numpy_numbers_are_numbers() -> None:
    table = Table(np.int64(2), optimizer_parameters={"learning_rate": np.float32(0.5)}, max_rows=np.int32(5), threads=1)
    table.apply(KEYS, GRADIENTS, time=np.int64(3_000_000), learning_rate=np.float32(0.5))
    assert len(table) == 3


# -- as the host's executors see it ----------------------------------------------------------------


def step_at(seconds: int) -> StepInfo:
    return StepInfo(0, 0, 0, lambda: Position("s"), lambda: seconds * 1_000_000)


def test_the_host_s_errors_name_the_table_and_say_what_to_do() -> None:
    backend = TfplusBackend(TfplusBackend.Options(threads=1, max_rows=3))
    table = backend.table(TableSpec("users", 2))
    table.lookup(KEYS, train=True)
    cases: list[tuple[Callable[[], object], str, str | None]] = [
        (lambda: table.lookup(KEYS.astype(np.int32), train=True), "int64", None),
        (lambda: table.lookup(NEW, train=True), "holds 3 rows", "at_limit: evict"),
        (lambda: table.apply(KEYS, GRADIENTS.astype(np.float64), step_at(1)), "float32", None),
        (lambda: table.apply(KEYS, GRADIENTS * math.nan, step_at(1)), "not finite", "non_finite: skip"),
    ]
    for operation, text, hint in cases:
        before = content(table._table)
        with pytest.raises(TrainingError, match=text) as raised:
            operation()
        assert "table 'users' (embedding backend tfplus)" in str(raised.value)
        assert hint is None or hint in str(raised.value.hint)
        assert content(table._table) == before


@pytest.mark.parametrize(
    "spec",
    [
        TableSpec("users", 0),
        TableSpec("users", 2, optimizer=("adamm", {})),
        TableSpec("users", 2, optimizer=("adam", {"lr": 1.0})),
        TableSpec("users", 2, initializer=("normal", {"stddev": -1.0})),
        TableSpec("users", 2, admission=("often", {})),
        TableSpec("users", 2, eviction=("oldest", {})),
    ],
)
def test_the_host_refuses_a_table_that_cannot_be(spec: TableSpec) -> None:
    with pytest.raises(ConfigError, match="users"):
        TfplusBackend(TfplusBackend.Options(threads=1)).table(spec)
