"""First values are a function of seed and key, and those of the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as npst

from penrose_host.contracts.embedding import TableSpec
from penrose_host.embeddings.initializers import Initializer
from penrose_tfplus import Table, initializers

KEYS = npst.arrays(np.int64, st.integers(0, 30), elements=st.integers(-(2**63), 2**63 - 1))
SEEDS = st.integers(-(2**63), 2**64 - 1)
CASES: list[tuple[str, dict[str, float]]] = [
    ("zeros", {}),
    ("constant", {}),
    ("constant", {"value": -1.3}),
    ("uniform", {}),
    ("uniform", {"low": -7.1, "high": 3.3}),
    ("normal", {}),
    ("normal", {"mean": 2.0, "stddev": 0.7}),
]
ALL = [*CASES, ("truncated_normal", {}), ("truncated_normal", {"mean": 1.0, "stddev": 3.0})]


def made(width: int, name: str, parameters: dict[str, float], **options: Any) -> Table:
    return Table(width, optimizer="sgd", initializer=name, initializer_parameters=parameters, **options)


@pytest.mark.parametrize(("name", "parameters"), CASES)
@given(keys=KEYS, seed=SEEDS, width=st.sampled_from([1, 5, 16]))
def test_first_values_are_those_of_the_host(
    name: str, parameters: dict[str, float], keys: Any, seed: int, width: int
) -> None:
    table = made(width, name, parameters, seed=seed, threads=1)
    expected = Initializer.of(TableSpec("t", width, initializer=(name, parameters), seed=seed)).rows(keys)
    rows = table.lookup(keys, unseen="first")
    if name == "normal":  # the logarithm and the cosine may differ in the last bit
        np.testing.assert_allclose(rows, expected, rtol=1e-6, atol=1e-6)
    else:
        np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(table.lookup(keys, train=True), rows)


def test_names_and_defaults_are_those_of_the_host_and_truncated_normal() -> None:
    assert list(initializers()) == ["zeros", "constant", "uniform", "normal", "truncated_normal"]
    for name, parameters in initializers().items():
        if name != "truncated_normal":
            assert parameters == Initializer.of(TableSpec("t", 1, initializer=(name, {}))).parameters
    assert initializers()["truncated_normal"] == initializers()["normal"]


@pytest.mark.parametrize(("mean", "stddev"), [(0.0, 1.0), (3.0, 0.5)])
def test_truncated_normal_lies_within_two_deviations_and_is_otherwise_normal(mean: float, stddev: float) -> None:
    table = made(10, "truncated_normal", {"mean": mean, "stddev": stddev})
    values = (table.lookup(np.arange(20_000), unseen="first").astype(np.float64).reshape(-1) - mean) / stddev
    assert np.abs(values).max() <= 2.0 + 1e-6
    assert np.abs(values).max() > 1.99
    # Moments of the standard normal cut at 2, by parts: variance 1 - 4 φ(2) / mass, fourth 3 variance - 16 φ(2) / mass.
    density, mass = np.exp(-2.0) / np.sqrt(2 * np.pi), 0.9544997361036416
    variance = 1 - 4 * density / mass
    assert abs(values.mean()) < 0.01
    assert abs(values.var() - variance) < 0.01
    assert abs((values**4).mean() - (3 * variance - 16 * density / mass)) < 0.03
    assert abs((np.abs(values) < 1).mean() - 0.6826894921370859 / mass) < 0.005


def test_truncated_normal_is_the_normal_value_where_that_lies_within() -> None:
    keys = np.arange(1000)
    whole, cut = (
        made(8, name, {"stddev": 1.0}).lookup(keys, unseen="first") for name in ("normal", "truncated_normal")
    )
    within = np.abs(whole) < 1.999
    np.testing.assert_array_equal(cut[within], whole[within])
    assert 0.03 < 1 - within.mean() < 0.06


@pytest.mark.parametrize(("name", "mean", "deviation"), [("uniform", 0.5, 12**-0.5), ("normal", 0.0, 1.0)])
def test_moments_are_those_of_the_distribution_and_columns_do_not_correlate(
    name: str, mean: float, deviation: float
) -> None:
    parameters = {"low": 0.0, "high": 1.0} if name == "uniform" else {"stddev": 1.0}
    values = made(4, name, parameters).lookup(np.arange(50_000), unseen="first").astype(np.float64)
    assert abs(values.mean() - mean) < 0.01
    assert abs(values.std() - deviation) < 0.01
    correlation = np.corrcoef(np.vstack([values.T, np.roll(values, 1, axis=0).T]))  # with the next key's too
    assert np.abs(correlation - np.eye(8)).max() < 0.02


@pytest.mark.parametrize(("name", "parameters"), ALL)
def test_values_depend_on_seed_and_key_only(name: str, parameters: dict[str, float]) -> None:
    keys = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 9000)
    expected = made(3, name, parameters, seed=5, threads=1).lookup(keys, train=True)
    order = np.random.default_rng(1).permutation(9000)
    for options in ({"threads": 3}, {"shards": 1, "threads": 1}, {"optimizer": "adam"}):
        table = Table(3, initializer=name, initializer_parameters=parameters, seed=5, **options)
        for part in np.array_split(order, 2):
            np.testing.assert_array_equal(table.lookup(keys[part], train=True), expected[part])
    wider = made(9, name, parameters, seed=5).lookup(keys, unseen="first")
    np.testing.assert_array_equal(wider[:, :3], expected)
    if name not in ("zeros", "constant"):
        other = made(3, name, parameters, seed=6).lookup(keys, unseen="first")
        assert (other != expected).mean() > 0.99


def test_a_row_that_went_starts_again_at_its_first_value() -> None:
    table = made(4, "normal", {"stddev": 1.0}, threads=1)
    keys = np.array([3, 4], np.int64)
    first = table.lookup(keys, train=True)
    table.apply(keys, np.ones((2, 4), np.float32))
    table.delete(keys)
    table.lookup(np.arange(100, 200), train=True)  # others take the memory of those rows
    np.testing.assert_array_equal(table.lookup(keys, train=True), first)
