"""Estimator-style `model_fn`s: README.md's example, what TensorFlow 1 code does, and all that can be wrong with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow as tf

from penrose_host import EncodedBatch, FeatureSpec
from penrose_host.contracts.embedding import EmbeddingBackend
from penrose_host.errors import ConfigError, TrainingError
from penrose_host.testing import ExecutorContract
from penrose_tensorflow.executor import TensorflowExecutor

#: TensorFlow traces a model anew in nearly every test.
pytestmark = pytest.mark.slow

FEATURES = FeatureSpec(categorical=("user", "item"), numeric=("price",), labels=("click",))


class ModelFnContract(ExecutorContract):
    options: ClassVar[dict[str, Any]] = {}

    def make(self) -> TensorflowExecutor:
        options = {"device": "cpu", "width": 4, "model_options": {"heads": ["click", "buy"]}}
        return TensorflowExecutor(TensorflowExecutor.Options(**options, **self.options))


class TestOverRowsOfTheHost(ModelFnContract):
    options: ClassVar[dict[str, Any]] = {"model_fn": "model_fns:random_towers"}


class TestOverIds(ModelFnContract):
    options: ClassVar[dict[str, Any]] = {"model_fn": "model_fns:with_ids"}

    def backend(self) -> EmbeddingBackend | None:
        return None


@pytest.fixture
def module(write_module: Callable[[str, str], None]) -> Callable[[str], None]:
    """Writes `my_estimator.py` where it can be imported."""
    return partial(write_module, "my_estimator")


def linear(
    score: str = "weight * features['price']",
    predictions: str = "{'probabilities': tf.sigmoid(score)}",
    loss: str = "tf.reduce_sum(v1.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=score))",
    train_op: str = "v1.train.GradientDescentOptimizer(0.1).minimize(loss, v1.train.get_global_step())",
    before: str = "pass",
) -> str:
    """A module with a `model_fn` whose `score` is one expression of its features and of a variable `weight`."""
    return f"""
import keras
import tensorflow as tf
from penrose_tensorflow.model_fn.estimator import EstimatorSpec, ModeKeys

v1 = tf.compat.v1

def model_fn(features, labels, mode, params):
    weight = v1.get_variable("weight", [], initializer=v1.zeros_initializer())
    {before}
    score = {score}
    if mode == ModeKeys.PREDICT:
        return EstimatorSpec(mode, predictions={predictions})
    loss = {loss}
    return EstimatorSpec(mode, loss=loss, train_op={train_op})
"""


@pytest.fixture
def estimator(lab: Any, module: Callable[[str], None]) -> Callable[..., TensorflowExecutor]:
    """An executor with the `model_fn` of a module, written before."""

    def make(text: str, features: FeatureSpec = FEATURES, **options: Any) -> TensorflowExecutor:
        module(text)
        return lab.executor(features, **{"model_fn": "my_estimator:model_fn", "width": 4} | options)  # type: ignore[no-any-return]

    return make


def rows(price: list[float], click: list[float]) -> EncodedBatch:
    ids = np.arange(2 * len(price), dtype=np.int64).reshape(-1, 2)
    return EncodedBatch(ids, {}, {"price": np.array(price, np.float32)}, {"click": np.array(click, np.float32)})


# -- what it does ----------------------------------------------------------------------------------


def test_the_example_of_the_readme_learns(lab: Any, module: Callable[[str], None]) -> None:
    module(lab.example("my_estimator.py"))
    options = {"dropout": 0.1, "learning_rate": 0.05}
    executor = lab.executor(FEATURES, model_fn="my_estimator:model_fn", model_options=options)
    batch = lab.batch(FEATURES, 64, labelled=1.0)
    first = executor.train(batch, lab.step()).losses["click"]
    for number in range(100):
        last = executor.train(batch, lab.step(number)).losses["click"]
    assert last < 0.7 * first


def test_gradients_of_rows_go_to_the_table(lab: Any, estimator: Any) -> None:
    """The loss is the sum of all numbers of `user`, so each of them has gradient 1, and `item` has none."""
    executor = estimator(
        linear(
            "tf.reduce_sum(features['user'], 1) + weight", loss="tf.reduce_sum(features['user'])", train_op="tf.no_op()"
        ),
        optimizer={"name": "sgd", "learning_rate": 0.5},
    )
    batch = lab.batch(FEATURES, 1, labelled=1.0)
    (table,) = lab.tables[id(executor)].made.values()
    before = table.lookup(batch.ids[0], train=False)
    assert executor.train(batch, lab.step()).applied
    moved = table.lookup(batch.ids[0], train=False) - before
    np.testing.assert_allclose(moved, [[-0.5] * 4, [0.0] * 4], atol=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    [
        "GradientDescentOptimizer(0.1)",
        "MomentumOptimizer(0.1, 0.9)",
        "AdagradOptimizer(0.1)",
        "AdamOptimizer(0.1)",
        "FtrlOptimizer(0.1)",
        "RMSPropOptimizer(0.1)",
    ],
)
def test_optimizers_of_tensorflow_1_go_on_from_a_checkpoint(lab: Any, estimator: Any, optimizer: str) -> None:
    text = linear(train_op=f"v1.train.{optimizer}.minimize(loss, v1.train.get_global_step())")
    batches = [lab.batch(FEATURES, 8, seed=seed) for seed in range(4)]
    straight = estimator(text)
    for batch in batches[:2]:
        straight.train(batch, lab.step())
    saved = lab.save(straight)
    for batch in batches[2:]:
        straight.train(batch, lab.step())
    resumed = lab.executor(FEATURES, model_fn="my_estimator:model_fn", width=4)
    lab.load(resumed, saved)
    for batch in batches[2:]:
        resumed.train(batch, lab.step())
    assert lab.save(resumed) == lab.save(straight)
    variables = resumed._parts.learner.parts()["variables"]
    assert variables["global_step"].numpy() == 4
    assert len(variables) > (2 if "Gradient" not in optimizer else 1)


@pytest.mark.parametrize(
    "train_op",
    [
        "tf.group(v1.train.AdamOptimizer(0.1).minimize(loss, var_list=[weight]), "
        "v1.train.AdamOptimizer(0.2).minimize(loss, var_list=[other]))",
        "v1.train.AdamOptimizer(0.1).minimize(loss)",
    ],
    ids=["two optimizers", "one"],
)
def test_variables_of_one_name_are_several(lab: Any, estimator: Any, train_op: str) -> None:
    other = "other, more = tf.Variable(1.0 + tf.zeros([])), tf.Variable(tf.fill([2], 3.0))"
    score = "features['price'] * other + tf.reduce_sum(more) + weight"
    text = linear(score, before=other, train_op=train_op)
    batches = [lab.batch(FEATURES, 8, seed=seed, labelled=1.0) for seed in range(4)]
    straight = estimator(text)
    variables = straight._parts.learner.parts()["variables"]
    assert variables["Variable"].numpy() == 1
    assert variables["Variable:2"].numpy().tolist() == [3, 3]
    assert ("beta1_power:2" in variables) == ("other" in train_op)
    for batch in batches[:2]:
        straight.train(batch, lab.step())
    assert variables["Variable"].numpy() != 1
    saved = lab.save(straight)
    resumed = lab.executor(FEATURES, model_fn="my_estimator:model_fn", width=4)
    lab.load(resumed, saved)
    for executor in (straight, resumed):
        for batch in batches[2:]:
            executor.train(batch, lab.step())
    assert lab.save(resumed) == lab.save(straight)


@pytest.mark.parametrize(
    "draw",
    [
        "tf.random.uniform(tf.shape(features['price']))",
        "tf.random.uniform(tf.shape(features['price']), 0, 9, tf.int32)",
        "tf.random.normal(tf.shape(features['price']))",
        "tf.random.truncated_normal(tf.shape(features['price']))",
        "tf.random.categorical(tf.zeros([1, 9]), 3)[0, 0]",
        "v1.nn.dropout(features['price'], rate=0.5)",
    ],
)
def test_random_numbers_go_on_from_a_checkpoint_and_differ_from_step_to_step(
    lab: Any, estimator: Any, draw: str
) -> None:
    """The weight moves by the numbers drawn."""
    text = linear(loss=f"weight * tf.reduce_sum(tf.cast({draw}, tf.float32)) + 0 * tf.reduce_sum(score)")
    batch = rows([1.0, 2.0, 3.0], [1.0, 0.0, 1.0])

    def weights(executor: TensorflowExecutor, steps: int) -> list[float]:
        found = []
        for _ in range(steps):
            assert executor.train(batch, lab.step()).applied
            found.append(float(executor._parts.learner.parts()["variables"]["weight"].numpy()))
        return found

    straight = estimator(text)
    weights(straight, 2)
    saved = lab.save(straight)
    wanted = weights(straight, 6)
    assert len({round(step, 5) for step in np.diff(wanted)}) > 1
    resumed = lab.executor(FEATURES, model_fn="my_estimator:model_fn", width=4)
    lab.load(resumed, saved)
    assert weights(resumed, 6) == wanted


@pytest.mark.parametrize(
    "train_op",
    [
        "weight.assign_add(1.0)",
        "v1.assign_add(weight, 1.0)",
        "weight.assign_add(1.0).op",
        "tf.group(weight.assign_add(1.0))",
        "v1.assign_add(weight, tf.cond(loss > -1.0, lambda: 1.0, lambda: 2.0))",
    ],
)
def test_a_train_op_is_run_once_a_step_whatever_it_is(lab: Any, estimator: Any, train_op: str) -> None:
    executor = estimator(linear(train_op=train_op))
    for count in (1, 2, 3):
        assert executor.train(rows([1.0], [1.0]), lab.step()).applied
        assert executor._parts.learner.parts()["variables"]["weight"].numpy() == count


@pytest.mark.parametrize(
    "predictions",
    [
        "{'probabilities': tf.sigmoid(score)}",
        "{'probabilities': tf.sigmoid(score)[:, None], 'class_ids': score > 0}",
        "{'probabilities': tf.stack([1 - tf.sigmoid(score), tf.sigmoid(score)], 1)}",
        "{'click': tf.sigmoid(score)}",
        "{'click': tf.cast(tf.sigmoid(score)[:, None], tf.float64)}",
    ],
)
def test_predictions_come_in_several_shapes(estimator: Any, predictions: str) -> None:
    executor = estimator(linear("features['price'] + weight", predictions))
    found = executor.predict(rows([0.0, 100.0], [1.0, 1.0]))["click"]
    np.testing.assert_allclose(found, [0.5, 1.0])


def test_layers_of_keras_are_shared_by_name_and_layers_without_one_are_told(lab: Any, estimator: Any) -> None:
    text = linear("keras.layers.Dense(1, name='out')(features['price'][:, None])[:, 0] + weight")
    executor = estimator(text)
    assert {"out/kernel", "out/bias"} <= set(executor._parts.learner.parts()["variables"])
    before = executor.predict(rows([1.0], [1.0]))["click"]
    executor.train(rows([1.0], [1.0]), lab.step())
    assert executor.predict(rows([1.0], [1.0]))["click"] > before
    with pytest.raises(ConfigError, match="makes variables in PREDICT that it does not make in TRAIN"):
        estimator(text.replace(", name='out'", ""))


AVERAGES = linear(
    "keras.layers.BatchNormalization(name='bn')(features['price'][:, None], training=mode == ModeKeys.TRAIN)[:, 0]"
    " + weight"
)
DRAWS = linear(
    "weight * features['price'] * (keras.random.uniform([], seed=seeds) if mode == ModeKeys.TRAIN else 1.0)",
    before="seeds = keras.random.SeedGenerator(3, name='seeds')",
)


@pytest.mark.parametrize(
    ("text", "variable"),
    [(AVERAGES, "bn/moving_mean"), (DRAWS, "seeds/seed_generator_state")],
    ids=["averages", "seeds"],
)
def test_what_layers_of_keras_update_in_training_is_updated_and_goes_on(
    lab: Any, estimator: Any, text: str, variable: str
) -> None:
    def state(executor: TensorflowExecutor) -> list[float]:
        return executor._parts.learner.parts()["variables"][variable].numpy().tolist()  # type: ignore[no-any-return]

    executor = estimator(text)
    seen = [state(executor)]
    for _ in range(3):
        executor.train(rows([5.0, 7.0], [1.0, 0.0]), lab.step())
        seen.append(state(executor))
    assert all(before != after for before, after in pairwise(seen))
    if variable == "bn/moving_mean":
        assert seen[-1][0] == pytest.approx(6.0 * (1 - 0.99**3), rel=1e-4)
    saved = lab.save(executor)
    other = estimator(text)
    lab.load(other, saved)
    for each in (executor, other):
        each.train(rows([1.0, 2.0], [1.0, 0.0]), lab.step())
    assert lab.save(other) == lab.save(executor)


def test_a_step_is_compiled_once_for_all_numbers_of_rows(lab: Any, estimator: Any) -> None:
    executor = estimator(linear(before="calls.append(mode)") + "\ncalls = []\n")
    for count in (1, 2, 7):
        executor.train(lab.batch(FEATURES, count, labelled=1.0), lab.step())
        executor.predict(lab.batch(FEATURES, count))
    assert sys.modules["my_estimator"].calls == ["train", "infer"]


@pytest.mark.parametrize("count", [1000, None], ids=["embedded", "ids"])
def test_an_export_scores_like_the_trainer(lab: Any, tmp_path: Path, count: int | None) -> None:
    options = {"model_fn": "model_fns:embedded" if count else "model_fns:with_ids", "width": 4}
    executor = lab.executor(lab.rich, rows=count, model_options={"heads": ["click", "buy"]}, **options)
    lab.train(executor, lab.rich, range(3))
    executor.export(tmp_path)
    names = json.loads((tmp_path / "features.json").read_text())["signature"]
    serving = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    for size in (7, 0):
        batch = lab.batch(lab.rich, size)
        given: dict[str, Any] = {"ids": tf.constant(batch.ids)}
        given |= {names["numeric"][name]: tf.constant(batch.numeric[name]) for name in lab.rich.numeric}
        for name, ragged in batch.lists.items():
            parts = names["lists"][name]
            given |= {parts["values"]: tf.constant(ragged.values), parts["lengths"]: np.diff(ragged.offsets)}
        found, wanted = serving(**given), executor.predict(batch)
        for head in lab.rich.labels:
            np.testing.assert_allclose(found[names["scores"][head]].numpy(), wanted[head], atol=1e-6)


# -- what is not finite ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what",
    [
        {"loss": "tf.reduce_sum(tf.where(labels > 2, tf.math.log(-labels), score))"},
        {"loss": "tf.reduce_sum(score + tf.where(labels > 2, tf.sqrt(0 * features['user'][:, 0]), score))"},
        {
            "train_op": "tf.group(weight.assign(tf.where(tf.reduce_any(labels > 2), float('inf'), 1.0)), "
            "v1.train.get_global_step().assign_add(1))"
        },
    ],
    ids=["loss", "rows", "variables"],
)
def test_nothing_changes_where_something_is_not_finite(lab: Any, estimator: Any, what: dict[str, str]) -> None:
    executor = estimator(linear(**what))
    assert executor.train(rows([1.0, 1.0], [1.0, 0.0]), lab.step()).applied
    saved = lab.save(executor)
    assert not executor.train(rows([1.0, 1.0], [3.0, 0.0]), lab.step()).applied
    assert lab.save(executor) == saved
    assert executor.train(rows([1.0, 1.0], [1.0, 0.0]), lab.step()).applied


# -- what can be wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no function 'model_fn'"),
        ("def model_fn(features, labels, mode, params): 1 / 0", "my_estimator:model_fn raised ZeroDivisionError"),
        ("def model_fn(features, what): pass", r"raised TypeError: .*'what'\n.*features, labels, mode, params"),
        ("def model_fn(features): return {}", "returned a dict in 'train', not an EstimatorSpec"),
        (linear(before="tf.Variable(tf.reduce_sum(features['price']))"), "from a batch or .*: make it with"),
        (linear("features['prize']"), "raised KeyError: 'prize'"),
        (linear(loss="score"), r"returned float32 \[rows\] as `loss` in TRAIN"),
        (linear(loss="None", train_op="None"), "returned a NoneType as `loss` in TRAIN"),
        (linear(train_op="None"), "returned a NoneType as `train_op` in TRAIN"),
        (linear(predictions="None"), "returned a NoneType as `predictions` in PREDICT; expected is a dict"),
        (linear(predictions="{'scores': score}"), r"returned {scores: float32 \[rows\]} as `predictions`"),
        (linear(predictions="{'probabilities': score > 0}"), r"returned {probabilities: bool \[rows\]}"),
        (
            linear("score_of(mode, v1, weight, features)")
            + """
def score_of(mode, v1, weight, features):
    return weight * features['price'] + v1.get_variable(mode, [], initializer=v1.zeros_initializer())
""",
            "makes variables in PREDICT that it does not make in TRAIN: infer",
        ),
        (linear(before="v1.get_variable('other', [2 if mode == ModeKeys.TRAIN else 3])"), "the variable other is"),
        (linear("weight * features['price'] + OUTSIDE") + "\nOUTSIDE = tf.Variable(1.0, name='outside')", "outside:0"),
        (linear("weight * tf.random.shuffle(features['price'])"), "no checkpoint can hold: RandomShuffle"),
        (linear("weight * features['price'] + tf.random.normal([])"), "draws random numbers where it predicts"),
        (
            DRAWS.replace("uniform([], seed=seeds)", "uniform([], seed=seeds) * keras.random.uniform([], seed=seeds)"),
            "seed_generator_state is updated twice: layers with such state may be called once",
        ),
        (
            linear("keras.layers.Dropout(0.5, name='d')(features['price'], training=True) * weight"),
            r"seed_generator_state\n.*instead of a Dropout layer, .*tf\.nn\.dropout",
        ),
        (
            linear(before="tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([0], [1.0]), 3.0)"),
            "uses lookup tables, which nobody initializes here",
        ),
        (linear("v1.layers.dense(features['price'][:, None], 1)[:, 0]"), "raised AttributeError: .*Keras 3"),
    ],
)
def test_what_is_wrong_with_a_model_fn_is_told_before_the_run(estimator: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        estimator(text)
    assert caught.value.faults[0][0] == "executor.model_fn"


def test_logits_instead_of_probabilities_are_told(lab: Any, estimator: Any) -> None:
    executor = estimator(linear("features['price'] + weight", "{'probabilities': score}"))
    with pytest.raises(TrainingError, match=r"gave 7\.0 as the probability of 'click'"):
        executor.predict(rows([0.5, 7.0], [1.0, 1.0]))


def test_another_number_of_rows_is_told(lab: Any, estimator: Any) -> None:
    executor = estimator(linear(predictions="{'probabilities': tf.sigmoid(score)[:3]}"))
    with pytest.raises(TrainingError, match="gave 3 probabilities for 5 rows"):
        executor.predict(lab.batch(FEATURES, 5))


def test_an_operation_that_fails_is_an_error_that_names_the_model(lab: Any, estimator: Any) -> None:
    executor = estimator(linear("weight + tf.gather([0.0] * 5, tf.cast(features['price'], tf.int32))"))
    for step in (executor.predict, lambda batch: executor.train(batch, lab.step())):
        with pytest.raises(TrainingError, match=r"model my_estimator:model_fn: indices\[1\] = 7 is not in \[0, 5\)$"):
            step(rows([0.0, 7.0], [1.0, 1.0]))


def test_a_function_may_still_name_the_config_of_an_estimator(estimator: Any) -> None:
    estimator(linear(before="assert config is None").replace("mode, params)", "mode, params, config)"))


def test_two_features_of_one_name_are_refused(estimator: Any) -> None:
    features = FeatureSpec(categorical=("a",), numeric=("a",), labels=("click",))
    with pytest.raises(ConfigError, match="different names: a, a"):
        estimator(linear(), features)


def test_a_checkpoint_of_another_model_fn_is_refused(lab: Any, estimator: Any) -> None:
    saved = lab.save(estimator(linear()))
    other = lab.executor(lab.plain, model_fn="model_fns:embedded", width=4, model_options={"heads": ["click"]})
    with pytest.raises(Exception, match="was written by"):
        lab.load(other, saved)
