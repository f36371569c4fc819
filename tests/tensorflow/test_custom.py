"""Models of the user's: the example in README.md of penrose-tensorflow, and what is wrong with one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from executor_suite.custom_model import CustomModel, shapes_of_inputs

from penrose_host import ConfigError, EncodedBatch, FeatureSpec, TrainingError


def returning(expression: str, more: str = "") -> str:
    return f"""
import keras
import tensorflow as tf

def rows(x):
    return tf.reduce_sum(x, 1)

def number(x):
    return tf.reduce_sum(x)

def integers(x):
    return tf.cast(x, tf.int64)

class M(keras.Model):
    def __init__(self):
        super().__init__()
        self.weight = self.add_weight(shape=(), initializer="zeros", name="weight")
        {more}

    def call(self, x, training=False):
        return {expression}

def build(features, width):
    return M()
"""


class TestCustomModel(CustomModel):
    kind = "keras.Model"
    no_key = "KeyError: usr"
    unused_layer = "self.more = keras.layers.Dense(2); self.more.build((None, 2))"
    averaging = (
        "self.dropout(self.normal(x['x'][:, None], training=training), training=training)[:, 0] * self.weight",
        "self.normal, self.dropout = keras.layers.BatchNormalization(), keras.layers.Dropout(0.1)",
    )

    def returning(self, expression: str, more: str = "") -> str:
        return returning(expression, more)


def test_inputs_are_embeddings_pooled_lists_and_numbers_by_name(lab: Any, module: Callable[[str], None]) -> None:
    shapes = "{name: value.shape.as_list() for name, value in x.items()}"
    module(
        returning(f"shapes.append({shapes}) or tf.zeros([tf.shape(x['age'])[0], 2]) + x['price'][:, None]")
        + "shapes = []\n"
    )
    lab.executor(lab.rich, model="my_models:build", width=3)
    # First three rows of zeros; then it is traced, once each, for any number of rows.
    by_rows = [{name: shape[:] for name, shape in seen.items()} for seen in sys.modules["my_models"].shapes]
    assert [seen["age"] for seen in by_rows] == [[3], [None], [None]]
    assert by_rows[0] == shapes_of_inputs(3, 3)


def test_a_shape_that_goes_wrong_later_is_an_error_that_names_the_model(
    lab: Any, module: Callable[[str], None]
) -> None:
    module(returning("rows(x['user'])[:3]"))
    executor = lab.executor(lab.plain, model="my_models:build")
    batch = lab.batch(lab.plain, 5)
    saved = lab.save(executor)
    for step in (lambda: executor.predict(batch), lambda: executor.train(batch, lab.step())):
        with pytest.raises(TrainingError, match="the model of my_models:build returned another number of rows"):
            step()
    assert lab.save(executor) == saved
    assert executor.predict(batch.slice(0, 3))["click"].shape == (3,)


def test_a_model_that_raises_later_is_named_too(lab: Any, module: Callable[[str], None]) -> None:
    module(returning("rows(x['user']) + tf.gather([0.0], [tf.shape(x['user'])[0] // 5])[0]"))
    executor = lab.executor(lab.plain, model="my_models:build")
    with pytest.raises(TrainingError, match=r"(?s)model my_models:build.*indices\[0\] = 1 is not in \[0, 1\)"):
        executor.predict(lab.batch(lab.plain, 5))


def test_a_model_that_cannot_be_compiled_for_any_number_of_rows_is_told_before_the_run(
    lab: Any, module: Callable[[str], None]
) -> None:
    module(returning("rows(x['user']) if x['user'].shape[0] == 3 else 1 / 0"))
    with pytest.raises(ConfigError, match="raised ZeroDivisionError: division by zero for any number of rows"):
        lab.executor(lab.plain, model="my_models:build")


@pytest.mark.filterwarnings("ignore:.build... was called on layer")
def test_a_layer_that_only_training_calls_is_trained_too(lab: Any, module: Callable[[str], None]) -> None:
    text = returning("self.side(x['user'], training)", "self.aside = keras.layers.Dense(1)")
    module(
        text.replace(
            "def build",
            """    def side(self, hidden, training):
        if training:
            self.add_loss(tf.reduce_mean(tf.square(self.aside(hidden) - 1.0)))
        return tf.reduce_sum(hidden, 1)

def build""",
        )
    )
    executor = lab.executor(lab.plain, model="my_models:build")
    aside = executor._parts.learner.model.model.aside
    before = [variable.numpy().tolist() for variable in aside.variables]
    lab.train(executor, lab.plain, range(3))
    assert [variable.numpy().tolist() for variable in aside.variables] != before
    saved = lab.save(executor)
    other = lab.executor(lab.plain, model="my_models:build")
    lab.load(other, saved)
    for each in (executor, other):
        lab.train(each, lab.plain, range(3, 5))
    assert lab.save(other) == lab.save(executor)


def test_regularizers_of_layers_count(lab: Any, module: Callable[[str], None]) -> None:
    features = FeatureSpec(numeric=("x",), labels=("y",))
    batch = EncodedBatch(np.empty((4, 0), np.int64), {}, {"x": np.ones(4, np.float32)}, {"y": np.ones(4, np.float32)})
    weights, losses = [], []
    for strength in (0.0, 50.0):
        layer = "keras.layers.Dense(1, use_bias=False, kernel_initializer='ones', kernel_regularizer=keras.regularizers"
        module(returning("self.out(x['x'][:, None])", f"self.out = {layer}.L2({strength}))"))
        sys.modules.pop("my_models", None)
        executor = lab.executor(features, model="my_models:build", dense_optimizer={"name": "sgd"})
        losses.append(executor.train(batch, lab.step()).losses["y"])
        weights.append(float(executor._parts.learner.model.variables[-1].numpy().item()))
    assert weights[1] == pytest.approx(weights[0] - 0.01 * 2 * 50.0)
    assert losses[0] == losses[1] == pytest.approx(np.log1p(np.exp(-1)))


def test_random_numbers_that_no_checkpoint_would_repeat_are_told_too(lab: Any, module: Callable[[str], None]) -> None:
    module(returning("tf.reduce_sum(tf.nn.dropout(x['user'], 0.5) if training else x['user'], 1)"))
    with pytest.raises(ConfigError, match=r"draws with RandomUniform, .*\n.*SeedGenerator"):
        lab.executor(lab.plain, model="my_models:build")


@pytest.mark.parametrize(
    ("expression", "more"),
    [
        ("rows(x['user']) + self.hidden", "self.hidden = tf.Variable(1.0)"),
        ("tf.reduce_sum(x['user'] + keras.random.normal(tf.shape(x['user'])), 1)", ""),
        (
            "(self.table.insert([1], [2.0]), rows(x['user']))[1]",
            "self.table = tf.lookup.experimental.MutableHashTable(tf.int32, tf.float32, 0.0)",
        ),
    ],
    ids=["a plain variable", "the generator of all", "a lookup table"],
)
def test_state_that_no_checkpoint_would_hold_is_told_before_the_run(
    lab: Any, module: Callable[[str], None], expression: str, more: str
) -> None:
    module(returning(expression, more))
    with pytest.raises(ConfigError, match="uses variables that Keras does not know, nor a checkpoint"):
        lab.executor(lab.plain, model="my_models:build")


def test_a_functional_model_and_a_model_of_several_are_fine(lab: Any, module: Callable[[str], None]) -> None:
    module("""
import keras

def build(features, width):
    inputs = {name: keras.Input((width,), name=name) for name in features.categorical}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    inner = keras.Sequential([keras.layers.Dense(4, activation="relu"), keras.layers.Dense(1)])
    return keras.Model(inputs, inner(joined))
""")
    executor = lab.executor(lab.plain, model="my_models:build")
    batch = lab.batch(lab.plain, 64, labelled=1.0)
    first = executor.train(batch, lab.step()).losses["click"]
    for number in range(50):
        last = executor.train(batch, lab.step(number)).losses["click"]
    assert last < 0.7 * first
