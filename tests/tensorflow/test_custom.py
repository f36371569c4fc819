"""Modules of the user's: the README's example, and everything that can be wrong with one."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penrose_host import EncodedBatch, FeatureSpec
from penrose_host.errors import ConfigError, TrainingError

README = Path(__file__).parents[2] / "plugins" / "penrose-tensorflow" / "README.md"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Writes `my_models.py` where it can be imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_models", None)

    def write(text: str) -> None:
        (tmp_path / "my_models.py").write_text(text, "utf-8")

    yield write
    sys.modules.pop("my_models", None)


def returning(expression: str, more: str = "") -> str:
    """A module whose model returns `expression` of its input x; `more` stands in its constructor."""
    return f"""
import keras
import tensorflow as tf

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


@pytest.mark.parametrize("rows", [1000, None], ids=["table", "layer"])
def test_the_example_of_the_readme_learns(lab: Any, module: Callable[[str], None], rows: int | None) -> None:
    (example,) = re.findall(r"```python\n(# my_models\.py\n.*?)```", README.read_text("utf-8"), re.DOTALL)
    module(example)
    executor = lab.executor(lab.rich, rows=rows, model="my_models:towers", model_options={"units": 16})
    batch = lab.batch(lab.rich, 64, labelled=1.0)
    first = executor.train(batch, lab.step()).losses
    for number in range(100):
        last = executor.train(batch, lab.step(number)).losses
    assert all(last[head] < 0.5 * first[head] for head in lab.rich.labels)


@pytest.mark.parametrize(
    "expression",
    [
        "tf.reduce_sum(x['user'], 1)",
        "tf.reduce_sum(x['user'], 1, keepdims=True)",
        "{'click': tf.reduce_sum(x['user'] + x['item'], 1)}",
    ],
    ids=["rows", "rows x heads", "by head"],
)
def test_logits_come_in_three_shapes(lab: Any, module: Callable[[str], None], expression: str) -> None:
    module(returning(expression))
    executor = lab.executor(lab.plain, model="my_models:build")
    for count in (0, 1, 5):
        batch = lab.batch(lab.plain, count, labelled=1.0)
        assert executor.predict(batch)["click"].shape == (count,)
        assert executor.train(batch, lab.step()).applied


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
    assert by_rows[0] == {
        "user": [3, 3],
        "item": [3, 3],
        "user x item": [3, 3],
        "tags": [3, 3],
        "history": [3, 3],
        "price": [3],
        "age": [3],
    }


def test_a_module_that_uses_no_embedding_and_not_all_parameters_trains(lab: Any, module: Callable[[str], None]) -> None:
    features = FeatureSpec(categorical=("a",), numeric=("x",), labels=("y",))
    module(returning("x['x'] * self.weight", "self.more = keras.layers.Dense(2); self.more.build((None, 2))"))
    executor = lab.executor(features, model="my_models:build")
    batch = EncodedBatch(np.zeros((4, 1), np.int64), {}, {"x": np.ones(4, np.float32)}, {"y": np.ones(4, np.float32)})
    before = executor.predict(batch)["y"]
    assert executor.train(batch, lab.step()).applied
    assert (executor.predict(batch)["y"] > before).all()


def test_a_step_that_is_not_finite_leaves_averages_and_generators_too(lab: Any, module: Callable[[str], None]) -> None:
    features = FeatureSpec(numeric=("x",), labels=("y",))
    module(
        returning(
            "self.dropout(self.normal(x['x'][:, None], training=training), training=training)[:, 0] * self.weight",
            "self.normal, self.dropout = keras.layers.BatchNormalization(), keras.layers.Dropout(0.1)",
        )
    )
    executor = lab.executor(features, model="my_models:build")
    labels = {"y": np.ones(4, np.float32)}
    saved = lab.save(executor)
    bad = EncodedBatch(np.empty((4, 0), np.int64), {}, {"x": np.array([1, 2, np.nan, 3], np.float32)}, labels)
    assert not executor.train(bad, lab.step()).applied
    assert lab.save(executor) == saved
    good = EncodedBatch(np.empty((4, 0), np.int64), {}, {"x": np.arange(4, dtype=np.float32)}, labels)
    assert executor.train(good, lab.step()).applied
    assert lab.save(executor) != saved


@pytest.mark.parametrize(
    ("text", "model", "message"),
    [
        ("", "no_such_module:build", "no_such_module:build: there is no module 'no_such_module'"),
        ("import no_such_dependency", "my_models:build", "there is no module 'no_such_dependency'"),
        ("1 / 0", "my_models:build", "importing my_models raised ZeroDivisionError"),
        ("", "my_models:build", r"the module my_models \(.*my_models.py\) has no function 'build'"),
        ("build = 3", "my_models:build", "has no function 'build'"),
        ("def build(features): pass", "my_models:build", "my_models:build raised TypeError"),
        ("def build(features, width): return 3", "my_models:build", "returned a int, not a keras.Model"),
        (returning("x['usr']"), "my_models:build", "raised KeyError: usr for 3 rows"),
        (
            returning("3"),
            "my_models:build",
            r"returned a int for 3 rows; expected are logits: floats \[3, 1\] or \[3\]",
        ),
        (returning("x['user']"), "my_models:build", r"returned float32 \[3, 8\] for 3 rows"),
        (returning("tf.reduce_sum(x['user'])"), "my_models:build", r"returned float32 \[\] for 3 rows"),
        (
            returning("tf.cast(tf.reduce_sum(x['user'], 1), tf.int64)"),
            "my_models:build",
            r"returned int64 \[3\] for 3 rows",
        ),
        (
            returning("{'clack': tf.reduce_sum(x['user'], 1)}"),
            "my_models:build",
            r"returned {clack: float32 \[3\]}.*dict of click",
        ),
        (returning("{'click': x['user']}"), "my_models:build", r"returned {click: float32 \[3, 8\]} for 3 rows"),
    ],
)
def test_what_is_wrong_with_a_module_is_told_before_the_run(
    lab: Any, module: Callable[[str], None], text: str, model: str, message: str
) -> None:
    module(text)
    with pytest.raises(ConfigError, match=message) as caught:
        lab.executor(lab.plain, model=model)
    assert caught.value.faults[0][0] == "executor.model"


def test_a_shape_that_goes_wrong_later_is_an_error_that_names_the_model(
    lab: Any, module: Callable[[str], None]
) -> None:
    module(returning("tf.reduce_sum(x['user'], 1)[:3]"))
    executor = lab.executor(lab.plain, model="my_models:build")
    batch = lab.batch(lab.plain, 5)
    saved = lab.save(executor)
    for step in (lambda: executor.predict(batch), lambda: executor.train(batch, lab.step())):
        with pytest.raises(TrainingError, match="the model of my_models:build returned another number of rows"):
            step()
    assert lab.save(executor) == saved
    assert executor.predict(batch.slice(0, 3))["click"].shape == (3,)


def test_a_model_that_raises_later_is_named_too(lab: Any, module: Callable[[str], None]) -> None:
    module(returning("tf.reduce_sum(x['user'], 1) + tf.gather([0.0], [tf.shape(x['user'])[0] // 5])[0]"))
    executor = lab.executor(lab.plain, model="my_models:build")
    with pytest.raises(TrainingError, match=r"(?s)model my_models:build.*indices\[0\] = 1 is not in \[0, 1\)"):
        executor.predict(lab.batch(lab.plain, 5))


def test_a_model_that_cannot_be_compiled_for_any_number_of_rows_is_told_before_the_run(
    lab: Any, module: Callable[[str], None]
) -> None:
    module(returning("tf.reduce_sum(x['user'], 1) if x['user'].shape[0] == 3 else 1 / 0"))
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
    aside = executor._learner.model.model.aside
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
        weights.append(float(executor._learner.model.variables[-1].numpy().item()))
    assert weights[1] == pytest.approx(weights[0] - 0.01 * 2 * 50.0)
    assert losses[0] == losses[1] == pytest.approx(np.log1p(np.exp(-1)))


def test_random_numbers_that_no_checkpoint_would_repeat_are_told_too(lab: Any, module: Callable[[str], None]) -> None:
    module(returning("tf.reduce_sum(tf.nn.dropout(x['user'], 0.5) if training else x['user'], 1)"))
    with pytest.raises(ConfigError, match=r"draws with RandomUniform, .*\n.*SeedGenerator"):
        lab.executor(lab.plain, model="my_models:build")


@pytest.mark.parametrize(
    ("expression", "more"),
    [
        ("tf.reduce_sum(x['user'], 1) + self.hidden", "self.hidden = tf.Variable(1.0)"),
        ("tf.reduce_sum(x['user'] + keras.random.normal(tf.shape(x['user'])), 1)", ""),
        (
            "(self.table.insert([1], [2.0]), tf.reduce_sum(x['user'], 1))[1]",
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


def test_two_features_of_one_name_are_refused(lab: Any, module: Callable[[str], None]) -> None:
    module(returning("tf.reduce_sum(x['a'], 1)"))
    with pytest.raises(ConfigError, match="different names: a, a"):
        lab.executor(FeatureSpec(categorical=("a",), numeric=("a",), labels=("y",)), model="my_models:build")
