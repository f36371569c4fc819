from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from executor_suite.state import ZEROS, RestoredRun, State, assert_refused, changed
from executor_suite.steps import MODELS

from penrose_host import CheckpointDamaged

NOISY = """
import keras

class Noisy(keras.Model):
    def __init__(self, features, width):
        super().__init__()
        self.names = features.categorical
        self.normal = keras.layers.BatchNormalization()
        self.dropout = keras.layers.Dropout(0.5)
        self.out = keras.layers.Dense(len(features.labels))

    def call(self, inputs, training=False):
        joined = keras.ops.concatenate([inputs[name] for name in self.names], 1)
        return self.out(self.dropout(self.normal(joined, training=training), training=training))

def build(features, width):
    return Noisy(features, width)
"""


TYPED = """
import keras
import tensorflow as tf

class Typed(keras.Model):
    def __init__(self, features, dtype, fit):
        super().__init__()
        self.names, self.fit_ = features.categorical, fit
        self.hidden = keras.layers.Dense(3, dtype=dtype)
        self.scalar = self.add_weight(shape=(), dtype=dtype, initializer="ones", name="scalar")
        self.none = self.add_weight(shape=(0, 2), dtype=dtype, trainable=False, name="none")
        self.out = keras.layers.Dense(len(features.labels), activation="sigmoid" if fit else None)

    def call(self, inputs, training=False):
        columns = [tf.cast(inputs[name] % 97, "float32")[:, None] if self.fit_ else inputs[name] for name in self.names]
        hidden = self.hidden(keras.ops.concatenate(columns, 1)) * tf.cast(self.scalar, self.hidden.compute_dtype)
        return self.out(tf.cast(hidden, "float32"))

def build(features, width, dtype):
    return Typed(features, dtype, False)

def fit(features, width, dtype):
    model = Typed(features, dtype, True)
    model.compile(optimizer=keras.optimizers.SGD(0.001, momentum=0.9), loss="binary_crossentropy")
    return model
"""


TABLES = """
import keras
from penrose_tfplus_tensorflow import Embedding, Model

class Tabled(Model):
    def __init__(self, features, second):
        super().__init__()
        self.names = features.categorical
        self.one = Embedding(4, options={"initializer": "normal"})
        self.two = Embedding(4, options={"initializer": "normal", **second})
        self.out = keras.layers.Dense(1, activation="sigmoid")

    def call(self, inputs, training=False):
        rows = [layer(inputs[self.names[0]], training=training) for layer in (self.one, self.two)]
        return self.out(keras.ops.concatenate(rows, 1))

def build(features, width, **second):
    model = Tabled(features, second)
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="binary_crossentropy")
    return model
"""


@pytest.fixture(autouse=True)
def models(write_module: Callable[[str, str], None]) -> None:
    write_module("noisy_model", NOISY)
    write_module("typed_model", TYPED)
    write_module("tabled_model", TABLES)


@pytest.mark.parametrize(
    ("model", "rows", "optimizer"),
    [(model, rows, "adagrad") for model in (*MODELS, "noisy_model:build") for rows in (1000, None)]
    + [("deepfm", rows, optimizer) for rows in (1000, None) for optimizer in ("sgd", "adam")],
)
class TestRestoredRun(RestoredRun):
    """Generators and averages included."""


class TestState(State):
    adam = "adam"


def typed(lab: Any, loop: str | None, dtype: str) -> Any:
    if loop is None:
        sgd = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9}  # Adam's epsilon is 0 in float16
        return lab.executor(lab.plain, model="typed_model:build", dense_optimizer=sgd, model_options={"dtype": dtype})
    return lab.executor(lab.plain, rows=None, model="typed_model:fit", loop=loop, model_options={"dtype": dtype})


@pytest.mark.parametrize("loop", [None, "fit"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_variables_of_any_type_come_back_byte_by_byte(lab: Any, loop: str | None, dtype: str) -> None:
    straight, resumed = (typed(lab, loop, dtype) for _ in range(2))
    lab.train(straight, lab.plain, range(3))
    saved = lab.save(straight)
    lab.train(straight, lab.plain, range(3, 6))
    lab.train(resumed, lab.plain, range(100, 102))
    lab.load(resumed, saved)
    assert lab.save(resumed) == saved
    lab.train(resumed, lab.plain, range(3, 6))
    assert lab.save(resumed) == lab.save(straight) != saved


def test_a_type_is_not_taken_for_another_of_as_many_bytes(lab: Any) -> None:
    written, executor = typed(lab, None, "bfloat16"), typed(lab, None, "float16")
    now = lab.save(executor)
    with pytest.raises(CheckpointDamaged, match="bfloat16"):
        lab.load(executor, lab.save(written))
    assert lab.save(executor) == now


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"optimizer": "adam"}, "it has no slot_first"),
        ({"optimizer": "sgd"}, "it is trained by another optimizer"),
        ({"max_rows": 2, "at_limit": "evict"}, r"there would be \d+ rows, and max_rows is 2"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_and_nothing_changes(lab: Any, second: Any, message: str) -> None:
    written, executor = (
        lab.executor(lab.plain, rows=None, model="tabled_model:build", loop="fit", model_options=options)
        for options in ({}, second)
    )
    lab.train(written, lab.plain, range(2))
    lab.train(executor, lab.plain, range(100, 101), rows=2)
    now = lab.save(executor)
    with pytest.raises(CheckpointDamaged, match=message):
        lab.load(executor, lab.save(written))
    assert lab.save(executor) == now


@pytest.mark.parametrize("tensor", [np.zeros((3, 3), np.uint8), np.zeros((2, 3, 2), np.uint8), np.zeros(2, np.float32)])
def test_bytes_that_are_no_such_numbers_are_refused(lab: Any, tensor: Any) -> None:
    executor = typed(lab, None, "bfloat16")
    saved = lab.save(executor)
    (name,) = [name for name in json.loads(saved["executor/state.json"])["bytes"] if name.endswith("kernel")]
    tensors = safetensors.numpy.load(saved["executor/state.safetensors"])
    damaged = {**saved, "executor/state.safetensors": safetensors.numpy.save({**tensors, name: tensor})}
    with pytest.raises(CheckpointDamaged, match=f"{name} is .*, not bfloat16"):
        lab.load(executor, damaged)
    assert lab.save(executor) == saved


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (changed(model__0_dot_bias=None), "model/0.bias is not there, not float32"),
        (changed(model__0_dot_bias=ZEROS), r"model/0.bias is float32 \[7, 7\], not float32 \[2\]"),
        (changed(model__0_dot_bias=np.zeros(2)), "model/0.bias is float64"),
        (changed(model__more=ZEROS), r"model/more is float32 \[7, 7\], not in this model"),
        (changed(optimizer__0=None), "optimizer/0 is not there"),
        (changed(optimizer__9=ZEROS), "optimizer/9 is .* not in this model"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(lab: Any, edit: Any, message: str) -> None:
    assert_refused(lab, edit, message)
