from __future__ import annotations

import numpy as np
import pytest

from penrose_host import TableSpec
from penrose_host.embeddings.initializers import Initializer
from penrose_host.errors import ConfigError

KEYS = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 20_000)
RANDOM = [("uniform", {"low": -1.0, "high": 3.0}), ("normal", {"mean": 1.0, "stddev": 0.5})]


def rows(
    initializer: tuple[str, dict[str, float]], keys: np.ndarray = KEYS, seed: int = 7, width: int = 3
) -> np.ndarray:
    return Initializer.of(TableSpec("t", width, initializer=initializer, seed=seed)).rows(keys)


@pytest.mark.parametrize("initializer", [*RANDOM, ("zeros", {}), ("constant", {"value": 0.25})])
def test_a_row_depends_on_seed_and_key_only(initializer: tuple[str, dict[str, float]]) -> None:
    whole = rows(initializer)
    assert whole.dtype == np.float32
    assert whole.shape == (len(KEYS), 3)
    np.testing.assert_array_equal(whole[5000:5010], rows(initializer, KEYS[5000:5010]))
    np.testing.assert_array_equal(whole[[17]], rows(initializer, KEYS[[17]]))


@pytest.mark.parametrize("initializer", RANDOM)
def test_seeds_keys_and_columns_give_unrelated_numbers(initializer: tuple[str, dict[str, float]]) -> None:
    consecutive = rows(initializer, np.arange(20_000))
    columns = [
        *consecutive.T,
        rows(initializer, np.arange(20_000), seed=8)[:, 0],
        rows(initializer, np.arange(1, 20_001))[:, 0],
    ]
    correlations = np.corrcoef(np.array(columns)) - np.eye(len(columns))
    assert np.abs(correlations).max() < 0.04


def test_uniform_numbers_fill_their_interval() -> None:
    values = rows(("uniform", {"low": -1.0, "high": 3.0})).ravel()
    counts, _ = np.histogram(values, bins=20, range=(-1, 3))
    assert counts.sum() == len(values)
    assert np.abs(counts / len(values) - 0.05).max() < 0.005


def test_normal_numbers_have_the_moments_asked_for() -> None:
    values = (rows(("normal", {"mean": 1.0, "stddev": 0.5})).ravel() - 1) / 0.5
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02
    assert abs((values**3).mean()) < 0.06
    assert abs((values**4).mean() - 3) < 0.15


def test_values_never_change_between_releases() -> None:
    keys = np.array([0, 1, -1], dtype=np.int64)
    uniform = [[0.038331080228090286], [0.024974824860692024], [0.0146354204043746]]
    normal = [[-0.004945787601172924], [0.005063870456069708], [0.001181496656499803]]
    np.testing.assert_allclose(rows(("uniform", {}), keys, seed=0, width=1), uniform, rtol=1e-6)
    np.testing.assert_allclose(rows(("normal", {}), keys, seed=0, width=1), normal, rtol=1e-6)


@pytest.mark.parametrize(
    ("initializer", "message"),
    [
        (("xavier", {}), "'xavier' does not exist; there are zeros, constant, uniform, normal"),
        (("normal", {"std": 1.0}), "normal has no parameter 'std'; its parameters: mean, stddev"),
        (("zeros", {"value": 1.0}), "zeros has no parameter 'value'; its parameters: none"),
        (("constant", {"value": float("nan")}), "value must be a finite number, not nan"),
    ],
)
def test_what_does_not_exist_is_a_fault_of_the_job(initializer: tuple[str, dict[str, float]], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        rows(initializer)
    assert caught.value.faults[0][0] == "table 't': initializer"
