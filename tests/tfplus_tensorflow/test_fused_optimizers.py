"""Each optimizer is TensorFlow's own where there is one, and the published rule otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st
from table_optimizers import SLOTS, RowTable
from tfplus_tensorflow_support import FIRST, int64, make_kv, train

from penrose_tfplus import optimizers

ROWS, WIDTH = 7, 5
#: Where each adds its epsilon differs: it is too small here to count. With the optimizer of Keras, and whether that
#: moves rows without a gradient too.
TINY = 1e-15
KERAS = {
    "sgd": ({"learning_rate": 0.1}, keras.optimizers.SGD, {"learning_rate": 0.1}, False),
    "adagrad": (
        {"learning_rate": 0.1, "initial_accumulator": 0.2, "epsilon": TINY},
        keras.optimizers.Adagrad,
        {"learning_rate": 0.1, "initial_accumulator_value": 0.2, "epsilon": TINY},
        False,
    ),
    "adam": (
        {"learning_rate": 0.05, "beta1": 0.8, "beta2": 0.95, "epsilon": TINY},
        keras.optimizers.Adam,
        {"learning_rate": 0.05, "beta_1": 0.8, "beta_2": 0.95, "epsilon": TINY},
        True,
    ),
    "ftrl": (
        {"learning_rate": 0.1, "initial_accumulator": 0.2, "beta": 0.5, "l1": 0.1, "l2": 0.2},
        keras.optimizers.Ftrl,
        # Keras has twice the L2 strength in its denominator.
        {
            "learning_rate": 0.1,
            "initial_accumulator_value": 0.2,
            "beta": 0.5,
            "l1_regularization_strength": 0.1,
            "l2_regularization_strength": 0.1,
        },
        True,
    ),
}


def batches(moves_all: bool, seed: int, steps: int = 15) -> list[tuple[Any, Any]]:
    """Keys, repeated ones too, and gradients; every key in each batch if the dense optimizer moves all rows."""
    random, found = np.random.default_rng(seed), []
    for _ in range(steps):
        keys = random.integers(0, ROWS, 9)
        keys = np.concatenate([keys, random.permutation(ROWS)]) if moves_all else keys
        size = random.uniform(0.01, 2.0, (len(keys), WIDTH))
        found.append((keys.astype(np.int64), (size * random.choice([-1, 1], size.shape)).astype(np.float32)))
    return found


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("name", KERAS)
def test_the_fused_step_is_the_dense_one_of_keras(name: str, graph: bool) -> None:
    parameters, dense_class, dense_parameters, moves_all = KERAS[name]
    kv = make_kv(WIDTH, optimizer=name, optimizer_parameters=parameters)
    dense, optimizer = tf.Variable(tf.fill([ROWS, WIDTH], FIRST)), dense_class(**dense_parameters)
    step = tf.function(train, reduce_retracing=True) if graph else train
    for keys, gradients in batches(moves_all, seed=1):
        step(kv, tf.constant(keys), tf.constant(gradients))
        optimizer.apply([tf.math.unsorted_segment_sum(gradients, keys, ROWS)], [dense])
    np.testing.assert_allclose(kv.gather(tf.range(ROWS, dtype=tf.int64)), dense, rtol=0, atol=1e-6)


#: Not the defaults: every parameter has an effect.
RULES: Mapping[str, Mapping[str, float]] = {
    "sgd": {"learning_rate": 0.1},
    "adagrad": {"learning_rate": 0.3, "initial_accumulator": 0.1, "epsilon": 1e-3},
    "rowwise_adagrad": {"learning_rate": 0.3, "initial_accumulator": 0.1, "epsilon": 1e-3},
    "adam": {"learning_rate": 0.01, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3},
    "rectified_adam": {"learning_rate": 0.01, "beta1": 0.5, "beta2": 0.8, "epsilon": 1e-3},
    "ftrl": {"learning_rate": 0.3, "beta": 0.5, "l1": 0.2, "l2": 0.1, "initial_accumulator": 0.1},
    "group_adam": {
        "learning_rate": 0.05,
        "beta1": 0.5,
        "beta2": 0.9,
        "epsilon": 1e-3,
        "l1": 0.2,
        "l2": 0.1,
        "l21": 0.1,
    },
    "sparse_group_ftrl": {
        "learning_rate": 0.3,
        "lr_power": -0.7,
        "l1": 0.2,
        "l2": 0.1,
        "l21": 0.1,
        "initial_accumulator": 0.1,
    },
}


def test_every_optimizer_is_tested() -> None:
    assert set(RULES) == set(optimizers())


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), rate=st.sampled_from([0.02, 0.3]))
def test_the_fused_step_is_the_published_rule(name: str, seed: int, rate: float) -> None:
    parameters = {**optimizers()[name], **RULES[name]}
    kv = make_kv(WIDTH, optimizer=name, optimizer_parameters=parameters)
    reference = RowTable(name, parameters, WIDTH, FIRST)
    for keys, gradients in batches(False, seed, steps=8):
        train(kv, keys, gradients, learning_rate=rate)
        reference.step(keys, gradients, rate)
    keys = kv.keys()
    slots = kv.slots(keys)
    assert list(slots) == list(SLOTS[name])
    for column, found in {"w": kv.gather(keys), **slots}.items():
        expected = reference.column(column, keys.numpy())
        atol = max(1e-6, 4e-6 * np.abs(expected).max())  # some float32 roundings of the largest number
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_a_learning_rate_is_a_number_or_a_tensor_of_the_step(graph: bool) -> None:
    kv = make_kv(1, optimizer="sgd", optimizer_parameters={"learning_rate": 0.5})
    step = tf.function(train) if graph else train
    step(kv, int64(1), tf.ones([1, 1]), learning_rate=0.25)
    step(kv, int64(1), tf.ones([1, 1]), learning_rate=tf.constant(1.0))
    step(kv, int64(1), tf.ones([1, 1]))
    step(kv, int64(1), tf.ones([1, 1]), learning_rate=keras.optimizers.SGD(2.0).learning_rate)
    assert kv.gather([1]).numpy().tolist() == [[FIRST - 0.25 - 1.0 - 0.5 - 2.0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2e18])
def test_a_gradient_that_is_not_finite_is_refused_or_left_out(bad: float) -> None:
    kv = make_kv(2, optimizer="sgd", optimizer_parameters={"learning_rate": 1.0})
    slices = tf.IndexedSlices(tf.constant([[1.0, 1.0], [bad, 1.0]]), int64(1, 2))
    kv.gather(int64(1, 2), train=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="1 rows have a gradient that is not finite"):
        kv.apply_gradients(slices)
    assert (kv.gather(int64(1, 2)).numpy() == FIRST).all()
    kv.apply_gradients(slices, skip_non_finite=True)
    assert kv.gather(int64(1, 2)).numpy().tolist() == [[FIRST - 1] * 2, [FIRST] * 2]
    assert kv.counters()["skipped_rows"] == 1
