from __future__ import annotations

import math

import numpy as np
import pytest

from penrose_host import TableSpec
from penrose_host.embeddings.optimizers import Optimizer
from penrose_host.errors import ConfigError


def run(name: str, parameters: dict[str, float], gradients: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights after one update for each [n, width] of `gradients`."""
    optimizer = Optimizer.of(TableSpec("t", weights.shape[1], (name, parameters)))
    weights = weights.copy()
    slots = tuple(
        np.full((len(weights), 1 if slot.per_row else weights.shape[1]), slot.initial, np.float32)
        for slot in optimizer.slots
    )
    for gradient in gradients:
        optimizer.update(weights, slots, gradient)
    assert weights.dtype == np.float32
    return weights


def one_sgd(weight: float, gradients: list[float]) -> float:
    for g in gradients:
        weight -= 0.3 * g
    return weight


def one_adagrad(weight: float, gradients: list[float]) -> float:
    total = 2.0
    for g in gradients:
        total += g * g
        weight -= 0.3 * g / (math.sqrt(total) + 1e-6)
    return weight


def one_adam(weight: float, gradients: list[float]) -> float:
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m = 0.8 * m + 0.2 * g
        v = 0.99 * v + 0.01 * g * g
        weight -= 0.3 * (m / (1 - 0.8**t)) / (math.sqrt(v / (1 - 0.99**t)) + 1e-6)
    return weight


def one_ftrl(weight: float, gradients: list[float]) -> float:
    n, z = 0.5, 0.0
    for g in gradients:
        sigma = (math.sqrt(n + g * g) - math.sqrt(n)) / 0.3
        z += g - sigma * weight
        n += g * g
        weight = 0.0 if abs(z) <= 0.4 else -(z - math.copysign(0.4, z)) / ((2.0 + math.sqrt(n)) / 0.3 + 0.1)
    return weight


REFERENCES = {
    "sgd": (one_sgd, {"learning_rate": 0.3}),
    "adagrad": (one_adagrad, {"learning_rate": 0.3, "initial_accumulator": 2.0, "epsilon": 1e-6}),
    "adam": (one_adam, {"learning_rate": 0.3, "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-6}),
    "ftrl": (one_ftrl, {"learning_rate": 0.3, "beta": 2.0, "l1": 0.4, "l2": 0.1, "initial_accumulator": 0.5}),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_each_weight_follows_the_textbook(name: str) -> None:
    reference, parameters = REFERENCES[name]
    random = np.random.default_rng(3)
    gradients = random.standard_normal((30, 4, 5)).astype(np.float32)
    weights = random.standard_normal((4, 5)).astype(np.float32)
    found = run(name, parameters, gradients, weights)
    for row in range(4):
        for column in range(5):
            expected = reference(float(weights[row, column]), gradients[:, row, column].tolist())
            assert found[row, column] == pytest.approx(expected, rel=2e-4, abs=2e-5)


def test_rowwise_adagrad_shares_one_accumulator_by_the_mean_square() -> None:
    gradient = np.array([[3.0, 4.0]], dtype=np.float32)
    found = run(
        "rowwise_adagrad",
        {"learning_rate": 1.0, "initial_accumulator": 0.5},
        gradient[None],
        np.zeros((1, 2), np.float32),
    )
    np.testing.assert_allclose(found, -gradient / math.sqrt(0.5 + 12.5), rtol=1e-6)


def test_rowwise_adagrad_of_one_column_is_adagrad() -> None:
    gradients = np.random.default_rng(5).standard_normal((9, 3, 1)).astype(np.float32)
    weights = np.ones((3, 1), np.float32)
    parameters = {"learning_rate": 0.1, "initial_accumulator": 0.2}
    np.testing.assert_array_equal(
        run("adagrad", parameters, gradients, weights), run("rowwise_adagrad", parameters, gradients, weights)
    )


@pytest.mark.parametrize("name", ["adagrad", "rowwise_adagrad", "adam", "ftrl"])
def test_a_gradient_of_zero_on_a_fresh_row_changes_nothing(name: str) -> None:
    weights = np.zeros((2, 3), np.float32)
    np.testing.assert_array_equal(run(name, {}, np.zeros((1, 2, 3), np.float32), weights), weights)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (("adamw", {}), "'adamw' does not exist; there are sgd, adagrad, rowwise_adagrad, adam, ftrl"),
        (("sgd", {"lr": 0.1}), "sgd has no parameter 'lr'; its parameters: learning_rate"),
        (("sgd", {"learning_rate": 0.0}), "learning_rate must be at least"),
        (("adam", {"beta2": 1.0}), "beta2 must be at least 0.0 and below 1.0"),
        (("adagrad", {"learning_rate": "fast"}), "learning_rate must be a finite number, not 'fast'"),
        (("ftrl", {"l1": -1.0}), "l1 must be at least 0.0"),
    ],
)
def test_what_does_not_exist_is_a_fault_of_the_job(optimizer: tuple[str, dict[str, float]], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Optimizer.of(TableSpec("t", 1, optimizer))
    assert caught.value.faults[0][0] == "table 't': optimizer"


def test_all_faults_of_the_parameters_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Optimizer.of(TableSpec("t", 1, ("adam", {"rate": 1.0, "beta1": float("inf")})))
    assert len(caught.value.faults) == 2
