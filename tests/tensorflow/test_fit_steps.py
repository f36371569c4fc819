"""What `loop: fit` asks of a model's training step, and of a loop around it: all state is known, and checkpointed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penrose_host import FeatureSpec
from penrose_host.errors import ConfigError, TrainingError
from penrose_tensorflow.executor import TensorflowExecutor

#: TensorFlow traces a model anew in nearly every test.
pytestmark = pytest.mark.slow

FEATURES = FeatureSpec(categorical=("user",), numeric=("price",), labels=("click",))


def module(init: str = "pass", hidden: str = "x", more: str = "") -> str:
    """A model whose training turns its inputs `x` into `hidden`."""
    return f"""
import keras
import tensorflow as tf

OPTIMIZER = keras.optimizers.SGD

class M(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = keras.layers.Dense(1, activation="sigmoid")
        {init}

    def call(self, inputs, training=False):
        x = inputs["price"][:, None]
        return self.out({hidden} if training else x)

    {more.replace(chr(10), chr(10) + "    ")}

def build(features, width):
    model = M()
    model.compile(OPTIMIZER(0.1), "binary_crossentropy", weighted_metrics=["auc"])
    return model
"""


@pytest.fixture
def fit(lab: Any, write_module: Callable[[str, str], None]) -> Callable[..., TensorflowExecutor]:
    """An executor that fits the model of a module."""

    def make(text: str, features: FeatureSpec = FEATURES, **options: Any) -> TensorflowExecutor:
        write_module("stepped", text)
        given = {"model": "stepped:build", "loop": "fit", "loop_timeout": 30, "rows": None} | options
        return lab.executor(features, **given)  # type: ignore[no-any-return]

    return make


TWO = """
def train_step(self, data):
    x, y, weights = data
    with tf.GradientTape() as tape:
        loss = self.compute_loss(x, y, self(x, training=True), weights)
    kernel, bias = tape.gradient(loss, self.trainable_variables)
    self.optimizer.apply([kernel], self.trainable_variables[:1])
    self.other.apply([bias], self.trainable_variables[1:])
    return {"loss": loss}
"""


FILLS = """
def filled(self, x):
    keys = tf.ensure_shape(tf.cast(x[:, 0], tf.int32), [None])
    with tf.control_dependencies([self.t.insert(keys, x[:, 0])]):
        return tf.reshape(self.t.lookup(keys), [-1, 1])
"""
MAKES = """
def train_step(self, data):
    self.late(data[0]["price"][:, None])
    return super().train_step(data)
"""


@pytest.mark.parametrize(
    ("init", "hidden", "more", "message"),
    [
        ("pass", "x + tf.random.normal(tf.shape(x))", "", "draws with RandomStandardNormal, whose state no"),
        ("pass", "tf.nn.dropout(x, 0.5)", "", "draws with RandomUniform, "),
        ("pass", "x + keras.random.normal(tf.shape(x))", "", "nor a checkpoint: .*seed"),
        (
            "self.g = tf.random.Generator.from_seed(1)",
            "x + self.g.normal(tf.shape(x))",
            "",
            "nor a checkpoint: StateVar",
        ),
        (
            "self.n = tf.Variable(0.0, name='seen', trainable=False)",
            "x / self.n.assign_add(1.0)",
            "",
            "of stepped:build uses variables that Keras does not know, nor a checkpoint: seen:0",
        ),
        ("self.other = keras.optimizers.Adam(0.1)", "x", TWO, "nor a checkpoint: .*momentum"),
        (
            "self.t = tf.lookup.experimental.MutableHashTable(tf.int32, tf.float32, 0.0)",
            "x + self.filled(x)",
            FILLS,
            r"nor a checkpoint: a lookup table \(LookupTableInsertV2\)",
        ),
    ],
    ids=["tf.random", "tf.nn", "global seed", "generator", "counter", "second optimizer", "filled"],
)
@pytest.mark.filterwarnings("ignore:.build... was called on layer")
def test_state_that_only_training_uses_and_no_checkpoint_holds_is_told_before_anything_is_trained(
    lab: Any, fit: Any, init: str, hidden: str, more: str, message: str
) -> None:
    executor = fit(module(init, hidden, more))
    before = [weight.numpy().tolist() for weight in executor._parts.learner.model.weights]
    with pytest.raises(TrainingError, match=message):
        executor.train(lab.batch(FEATURES, 8, labelled=1.0), lab.step())
    assert [weight.numpy().tolist() for weight in executor._parts.learner.model.weights] == before


@pytest.mark.filterwarnings("ignore:.build... was called on layer")
def test_variables_that_only_a_step_makes_are_told_before_anything_is_trained(lab: Any, fit: Any) -> None:
    executor = fit(module("self.late = keras.layers.Dense(1, name='late', trainable=False)", more=MAKES))
    before = [weight.numpy().tolist() for weight in executor._parts.learner.model.trainable_weights]
    with pytest.raises(TrainingError, match=r"makes variables that a resumed run would not have yet: .*late"):
        executor.train(lab.batch(FEATURES, 8, labelled=1.0), lab.step())
    assert [weight.numpy().tolist() for weight in executor._parts.learner.model.trainable_weights] == before


@pytest.mark.parametrize(
    ("init", "hidden"),
    [
        ("self.g = keras.random.SeedGenerator(1)", "x + keras.random.normal(tf.shape(x), seed=self.g)"),
        ("self.d = keras.layers.Dropout(0.5)", "self.d(x, training=True)"),
        ("self.n = self.add_weight(shape=(), trainable=False)", "x / (1 + self.n.assign(self.n + 1))"),
        ("self.b = keras.layers.BatchNormalization()", "self.b(x, training=True)"),
        (
            "self.t = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([0, 1], [1.0, 2.0]), 3.0)",
            "x * self.t.lookup(tf.cast(x > 0, tf.int32))",
        ),
    ],
    ids=["seed generator", "dropout", "weight", "only in training", "constant table"],
)
@pytest.mark.filterwarnings("ignore:.build... was called on layer")
def test_state_that_keras_knows_goes_on_from_a_checkpoint(lab: Any, fit: Any, init: str, hidden: str) -> None:
    text = module(init, hidden)
    straight = fit(text)
    lab.train(straight, FEATURES, range(2))
    saved = lab.save(straight)
    lab.train(straight, FEATURES, range(2, 4))
    resumed = fit(text)
    lab.load(resumed, saved)
    lab.train(resumed, FEATURES, range(2, 4))
    assert lab.save(resumed) == lab.save(straight)


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("model.compile('adam', 'mse')", "has another optimizer than it was returned with.*\n.*and not in the loop"),
        ("model = build(None, 4)", "stepped:train trains another model than the one it was given"),
    ],
)
def test_a_loop_that_leaves_what_was_restored_is_told(lab: Any, fit: Any, before: str, message: str) -> None:
    text = (
        module()
        + f"""
def train(model, dataset, callbacks):
    {before}
    model.fit(dataset, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)
"""
    )
    executor = fit(text, loop="stepped:train")
    with pytest.raises(TrainingError, match=message):
        executor.train(lab.batch(FEATURES, 8, labelled=1.0), lab.step())


def test_a_loop_of_single_steps_can_train(lab: Any, fit: Any) -> None:
    text = (
        module()
        + """
def train(model, dataset, callbacks):
    for x, labels, weights in dataset:
        loss = model.train_on_batch(x, labels, weights)
        callbacks[0].on_train_batch_end(0, {"loss": loss[0]})
"""
    )
    executor, fitted = fit(text, loop="stepped:train"), fit(text)
    for each in (executor, fitted):
        lab.train(each, FEATURES, range(3))
    assert lab.save(executor) == lab.save(fitted)
    executor.close()


@pytest.mark.parametrize("label", ["läte é", "a b", "b/c", "late-1.x", "_late"])
def test_a_label_that_keras_cannot_name_is_told_before_the_run(lab: Any, fit: Any, label: str) -> None:
    features = FeatureSpec(numeric=("price",), labels=("click", label))
    text = module().replace(
        "return self.out(x if training else x)", f"return {{'click': self.out(x), {label!r}: self.out(x)}}"
    )
    text = text.replace(', weighted_metrics=["auc"]', "")
    if label in ("late-1.x", "_late"):
        lab.train(fit(text, features), features, range(1))
        return
    with pytest.raises(ConfigError, match=f"Keras cannot name the loss of a label {label!r}"):
        fit(text, features)
