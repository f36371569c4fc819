from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from penrose_host import EncodedBatch, FeatureSpec
from penrose_tensorflow.host_loop.models import DCN, FM
from penrose_tensorflow.options import TensorflowOptions

MODELS = ["logistic", "fm", "deepfm", "dcn"]


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


@pytest.mark.parametrize("rows", [1000, None], ids=["table", "layer"])
@pytest.mark.parametrize("model", MODELS)
def test_each_model_learns(lab: Any, model: str, rows: int | None) -> None:
    features = FeatureSpec(categorical=("a", "b"), numeric=("x",), labels=("y", "z"))
    executor = lab.executor(
        features, rows=rows, model=model, hidden=[8], width=4, dense_optimizer={"name": "adam", "learning_rate": 0.01}
    )
    random = np.random.default_rng(0)
    losses = []
    for number in range(150):
        ids = random.integers(0, 10, (32, 2))
        x = random.standard_normal(32).astype(np.float32)
        labels = {"y": (ids[:, 0] < 5).astype(np.float32), "z": (x > 0).astype(np.float32)}
        result = executor.train(EncodedBatch(ids, {}, {"x": x}, labels), lab.step(number))
        losses.append([result.losses["y"], result.losses["z"]])
    first, last = np.array(losses[:10]).mean(axis=0), np.array(losses[-10:]).mean(axis=0)
    assert (last < 0.8 * first).all(), (first, last)


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_a_table_and_a_layer_learn_the_same(lab: Any, optimizer: str) -> None:
    """Both start at zero and share rows by the same hash: the host's optimizers are the reference."""
    options = {"model": "logistic", "optimizer": {"name": optimizer, "learning_rate": 0.1}}
    table, layer = (lab.executor(lab.rich, rows=rows, **options) for rows in (1000, None))
    for executor in (table, layer):
        lab.train(executor, lab.rich, range(20))
    batch = lab.batch(lab.rich, 50, seed=99)
    for head, scores in table.predict(batch).items():
        np.testing.assert_allclose(scores, layer.predict(batch)[head], rtol=1e-3, atol=1e-5)
        assert np.ptp(scores) > 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "resnet"}, "neither one of logistic, fm, deepfm, dcn nor module:function"),
        ({"model": "a b:c"}, "nor module:function"),
        ({"model": "os:"}, "nor module:function"),
        ({"hidden": [8, 0]}, "at least 1 unit"),
        ({"width": 0}, "greater than or equal to 1"),
        ({"reduction": "max"}, "'sum' or 'mean'"),
        ({"optimizer": {"name": "adagrad", "learning_rate": "fast"}}, "valid number"),
        ({"optimizer": {"learning_rate": 1}}, "Field required"),
        ({"learning_rate": 1}, "Extra inputs"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TensorflowOptions(**options)


def test_every_option_is_described() -> None:
    assert all(field.description for field in TensorflowOptions.model_fields.values())
