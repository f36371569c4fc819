from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from executor_suite.models import Models

from penrose_tensorflow.host_loop.models import DCN, FM


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def test_a_factorization_machine_adds_the_products_of_all_pairs() -> None:
    model = FM(numbers=2, heads=2, bias=True, factors=3)
    weight, bias = normal(2, 2), normal(2)
    model.linear.kernel.assign(weight)
    model.linear.bias.assign(bias)
    slots, numeric = normal(5, 4, model.width), normal(5, 2)
    weights, factors = slots[..., :2], slots[..., 2:].reshape(5, 4, 2, 3)
    found = model(tf.constant(slots), tf.constant(numeric)).numpy()
    for row in range(5):
        for head in range(2):
            expected = weights[row, :, head].sum() + bias[head] + (numeric[row] * weight[:, head]).sum()
            for i in range(4):
                for j in range(i):
                    expected += (factors[row, i, head] * factors[row, j, head]).sum()
            assert found[row, head] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_cross_layer_multiplies_the_inputs_by_a_linear_map_of_what_came_before() -> None:
    model = DCN(slots=2, numbers=1, heads=1, width=2, cross_layers=2, hidden=[])
    slots, numeric = normal(3, 2, 2), normal(3, 1)
    first = np.concatenate([slots.reshape(3, 4), numeric], 1)
    crossed = first
    for layer in model.crosses:
        crossed = first * (crossed @ layer.kernel.numpy() + layer.bias.numpy()) + crossed
    expected = crossed @ model.out.kernel.numpy() + model.out.bias.numpy()
    np.testing.assert_allclose(model(tf.constant(slots), tf.constant(numeric)), expected, rtol=1e-5)


class TestModels(Models):
    """Over whole steps."""
