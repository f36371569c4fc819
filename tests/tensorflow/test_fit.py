"""`loop: fit`: compiled Keras models under Keras's own loop, fed batch by batch; README.md's example."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import keras
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

FEATURES = FeatureSpec(categorical=("user",), numeric=("price",), labels=("click",))


class FitContract(ExecutorContract):
    options: ClassVar[dict[str, Any]] = {}

    def make(self) -> TensorflowExecutor:
        options = {"device": "cpu", "loop": "fit", "loop_timeout": 60, "width": 4} | self.options
        return TensorflowExecutor(TensorflowExecutor.Options(**options))

    def backend(self) -> EmbeddingBackend | None:
        return None


class TestFit(FitContract):
    options: ClassVar[dict[str, Any]] = {"model": "keras_models:embeddings"}


class TestFitOfTheUsersThatPullsAhead(FitContract):
    options: ClassVar[dict[str, Any]] = {"model": "keras_models:moving", "loop": "keras_models:prefetching"}


def model(output: str = "sigmoid(score)", compiled: str = "'sgd', 'binary_crossentropy'", more: str = "") -> str:
    """A module whose `build` returns a compiled model of `x`, a dict of inputs, and its linear `score`."""
    return f"""
import keras
import tensorflow as tf
from keras.ops import sigmoid

class M(keras.Model):
    def __init__(self):
        super().__init__()
        self.table = keras.layers.Embedding(10, 1)

    def call(self, x):
        score = self.table(x["user"] % 10) * x["price"][:, None]
        return {output}

def build(features, width):
    model = M()
    model.compile({compiled})
    return model

{more}
"""


@pytest.fixture
def fit(lab: Any, module: Callable[[str], None]) -> Callable[..., TensorflowExecutor]:
    """An executor that fits the model of a module, written before."""

    def make(text: str, features: FeatureSpec = FEATURES, **options: Any) -> TensorflowExecutor:
        module(text)
        given = {"model": "my_models:build", "loop": "fit", "loop_timeout": 30, "rows": None} | options
        return lab.executor(features, **given)  # type: ignore[no-any-return]

    return make


# -- what reaches the model ------------------------------------------------------------------------


def test_the_example_of_the_readme_learns(lab: Any, module: Callable[[str], None]) -> None:
    module(lab.example("my_fit.py"))
    features = FeatureSpec(categorical=("user", "item"), numeric=("price",), labels=("click",))
    executor = lab.executor(features, rows=None, model="my_models:wide", loop="my_models:train")
    batch = lab.batch(features, 64, labelled=1.0)
    first = executor.train(batch, lab.step()).losses["click"]
    for number in range(100):
        last = executor.train(batch, lab.step(number)).losses["click"]
    assert last < 0.7 * first


def test_the_dataset_has_features_by_name_labels_and_weights(lab: Any, fit: Any) -> None:
    seen = """
seen = []

def train(model, dataset, callbacks):
    seen.append(dataset.element_spec)
    dataset = dataset.map(keep)
    model.fit(dataset, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)

def keep(x, labels, weights):
    def note(*arrays):
        seen.append([array.tolist() for array in arrays])
        return 0
    flat = [x["user"], x["tags"].values, x["tags"].row_splits, x["price"], labels["click"], weights["click"],
            labels["buy"], weights["buy"]]
    with tf.control_dependencies([tf.numpy_function(note, flat, tf.int64, stateful=True)]):
        return x, tf.nest.map_structure(tf.identity, labels), weights
"""
    features = FeatureSpec(categorical=("user",), lists=lab.rich.lists[:1], numeric=("price",), labels=("click", "buy"))
    executor = fit(
        model("{'click': sigmoid(score), 'buy': sigmoid(score)[:, 0]}", more=seen), features, loop="my_models:train"
    )
    batch = lab.batch(features, 9, seed=3, labelled=0.4)
    executor.train(batch, lab.step())
    spec, (user, values, splits, price, click, click_weight, buy, buy_weight) = sys.modules["my_models"].seen
    assert spec[0]["user"] == tf.TensorSpec([None], tf.int64)
    assert spec[0]["tags"].dtype == tf.int64
    assert spec[1]["click"] == spec[2]["buy"] == tf.TensorSpec([None], tf.float32)
    labels = np.stack([batch.labels["click"], batch.labels["buy"]])
    rows = np.flatnonzero(~np.isnan(labels).all(axis=0))
    assert 0 < len(rows) < 9
    assert user == batch.ids[rows, 0].tolist()
    assert price == batch.numeric["price"][rows].tolist()
    tags = batch.lists["tags"]
    lists = [tags.values[tags.offsets[row] : tags.offsets[row + 1]].tolist() for row in rows]
    assert [values[start:end] for start, end in pairwise(splits)] == lists
    assert [click, buy] == np.nan_to_num(labels[:, rows]).tolist()
    assert [click_weight, buy_weight] == (~np.isnan(labels[:, rows])).astype(float).tolist()


def test_a_run_equals_fit_over_the_same_batches(lab: Any, fit: Any) -> None:
    """The executor adds nothing of its own to what Keras does."""
    executor = fit(model(compiled="keras.optimizers.Adam(0.1), 'binary_crossentropy'"))
    batches = [lab.batch(FEATURES, 8, seed=seed, labelled=1.0) for seed in range(5)]
    keras.utils.set_random_seed(0)
    alone = sys.modules["my_models"].build(FEATURES, 4)
    inputs = [{"user": batch.ids[:, 0], "price": batch.numeric["price"]} for batch in batches]
    alone(inputs[0])
    alone.set_weights([kept.value.numpy() for kept in executor._parts.learner.model.weights])
    for batch, given in zip(batches, inputs, strict=True):
        assert executor.train(batch, lab.step()).applied
        alone.train_on_batch(given, batch.labels["click"], np.ones(8, np.float32))
    for mine, theirs in zip(executor._parts.learner.model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


def test_an_export_scores_like_the_trainer(lab: Any, fit: Any, tmp_path: Path) -> None:
    features = FeatureSpec(categorical=("user",), lists=lab.rich.lists, numeric=("price",), labels=("click",))
    executor = fit(model("sigmoid(score + tf.cast(tf.reduce_sum(x['tags'] % 3, 1), 'float32')[:, None])"), features)
    lab.train(executor, features, range(3))
    executor.export(tmp_path)
    described = json.loads((tmp_path / "features.json").read_text())
    assert described["model"] == "my_models:build"
    batch = lab.batch(features, 7)
    serving = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    signature = described["signature"]
    given: dict[str, Any] = {"ids": tf.constant(batch.ids)}
    given |= {signature["numeric"][name]: tf.constant(batch.numeric[name]) for name in features.numeric}
    for feature in features.lists:
        ragged = batch.lists[feature.name]
        values, lengths = (signature["lists"][feature.name][part] for part in ("values", "lengths"))
        given |= {values: tf.constant(ragged.values), lengths: tf.constant(np.diff(ragged.offsets))}
    found = serving(**given)[signature["scores"]["click"]].numpy()
    np.testing.assert_allclose(found, executor.predict(batch)["click"], atol=1e-6)


def test_an_export_holds_lookup_tables_that_do_not_change(lab: Any, fit: Any, tmp_path: Path) -> None:
    text = model("sigmoid(score + tf.ensure_shape(self.known.lookup(x['user'] % 3), [None])[:, None])").replace(
        "        self.table =",
        """        values = tf.lookup.KeyValueTensorInitializer(tf.constant([0, 1], tf.int64), [1.0, -2.0])
        self.known = tf.lookup.StaticHashTable(values, 0.5)
        self.table =""",
    )
    executor = fit(text)
    lab.train(executor, FEATURES, range(3))
    executor.export(tmp_path)
    batch = lab.batch(FEATURES, 9)
    serving = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    found = serving(ids=tf.constant(batch.ids), numeric_price=tf.constant(batch.numeric["price"]))["score_click"]
    np.testing.assert_allclose(found, executor.predict(batch)["click"], atol=1e-6)


@pytest.mark.parametrize("held", ["{}", "[{}]", "{{'counter': {}}}"], ids=["attribute", "list", "dictionary"])
def test_tables_in_layers_are_state(lab: Any, fit: Any, held: str) -> None:
    """`Counter` stands for a table of custom operations: it counts the batches that were trained."""
    text = """
import keras
import tensorflow as tf

class Counter:
    def __init__(self):
        self.batches = tf.Variable(0, dtype=tf.int64)

    def state(self):
        return {"batches": self.batches.value()}

    def load_state(self, state):
        self.batches.assign(state["batches"])

class Counting(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        counter = Counter()
        self.batches, self.table = counter.batches, HELD

    def call(self, x, training=False):
        if training:
            with tf.control_dependencies([self.batches.assign_add(1)]):
                return tf.identity(x)
        return x

class M(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = keras.layers.Dense(1, activation="sigmoid")
        self.counting = Counting()

    def call(self, x, training=False):
        return self.counting(self.out(x["price"][:, None]), training=training)

def build(features, width):
    model = M()
    model.compile("sgd", "binary_crossentropy")
    return model
"""
    executor = fit(text.replace("HELD", held.format("counter")))
    lab.train(executor, FEATURES, range(3))
    saved = lab.save(executor)
    lab.train(executor, FEATURES, range(2))
    (table,) = executor._parts.learner.tables().values()
    assert table.batches.numpy() == 5
    lab.load(executor, saved)
    assert table.batches.numpy() == 3
    assert lab.save(executor) == saved


# -- what is not finite ----------------------------------------------------------------------------


def test_a_step_whose_update_is_not_finite_is_taken_back_and_training_goes_on(lab: Any, fit: Any) -> None:
    """Its scores and its loss are: only the gradient is not."""
    text = model(
        "sigmoid(score)",
        "keras.optimizers.Adam(0.1), wild",
        more="""
def wild(truth, found):
    return tf.where(truth > 2, tf.sqrt(truth - truth + 0 * found), tf.square(truth - found))
""",
    )
    executor = fit(text)
    ids, price = np.zeros((4, 1), np.int64), {"price": np.ones(4, np.float32)}
    good = EncodedBatch(ids, {}, price, {"click": np.ones(4, np.float32)})
    bad = EncodedBatch(ids, {}, price, {"click": np.array([0, 1, 3, 0], np.float32)})
    assert executor.train(good, lab.step()).applied
    saved = lab.save(executor)
    result = executor.train(bad, lab.step())
    assert not result.applied
    assert lab.save(executor) == saved
    assert executor.train(good, lab.step()).applied
    assert lab.save(executor) != saved


# -- what can be wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def build(features, width): return 3", "my_models:build returned a int, not a keras.Model"),
        ("def build(features, width): 1 / 0", "my_models:build raised ZeroDivisionError"),
        (model().replace("model.compile(", "print("), "the model that my_models:build returned is not compiled"),
        (model(compiled="'sgd', 'mse', steps_per_execution=4"), "does 4 steps at once"),
        (model("x['nobody']"), "the model of my_models:build raised KeyError"),
        (model("sigmoid(score) * OUTSIDE", more="OUTSIDE = tf.Variable(1.0, name='outside')"), "knows?, .*: outside:0"),
        (model("3"), "returned a int; expected is probabilities: floats"),
        (
            model("tf.concat([score, score], 1)"),
            r"returned float32 \[3, 2\]; expected is probabilities: floats \[rows\]",
        ),
        (model("tf.squeeze(sigmoid(score))"), r"returned float32 \[\?\]; expected is probabilities"),
        (model("{'clack': score}"), r"returned {clack: float32 \[3, 1\]}"),
    ],
)
@pytest.mark.filterwarnings("ignore:Layer .* looks like it has unbuilt state")
def test_what_is_wrong_with_a_model_is_told_before_the_run(fit: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        fit(text)
    assert caught.value.faults[0][0] == "executor.model"


def test_several_labels_need_a_dict(fit: Any) -> None:
    features = FeatureSpec(categorical=("user",), numeric=("price",), labels=("click", "buy"))
    with pytest.raises(ConfigError, match=r"returned float32 \[3, 2\]; expected is a dict of click, buy, each floats"):
        fit(model("tf.concat([score, score], 1)"), features)


def test_logits_instead_of_probabilities_are_told(lab: Any, fit: Any) -> None:
    executor = fit(model("score + 7"))
    with pytest.raises(TrainingError, match=r"gave 7\.\d+ as the probability of 'click'\n.*sigmoid"):
        executor.predict(lab.batch(FEATURES, 5))


def test_another_number_of_rows_is_told(lab: Any, fit: Any) -> None:
    executor = fit(model("sigmoid(score)[:3]"))
    with pytest.raises(TrainingError, match="gave 3 probabilities for 5 rows"):
        executor.predict(lab.batch(FEATURES, 5))


def test_an_operation_that_fails_is_an_error_that_names_the_model(lab: Any, fit: Any) -> None:
    executor = fit(model().replace('x["user"] % 10', 'x["user"] % 20'))
    ids, price = np.array([[3], [12]]), {"price": np.ones(2, np.float32)}
    batch = EncodedBatch(ids, {}, price, {"click": np.ones(2, np.float32)})
    for step in (executor.predict, lambda batch: executor.train(batch, lab.step())):
        with pytest.raises(TrainingError, match=r"model my_models:build: indices\[1\] = 12 is not in \[0, 10\)$"):
            step(batch)


def test_what_fails_in_training_alone_is_told_without_where_each_line_of_keras_is(lab: Any, fit: Any) -> None:
    text = model("sigmoid(score + tf.gather([0.0], tf.fill([1], int(training))))").replace(
        "(self, x)", "(self, x, training=False)"
    )
    executor = fit(text)
    with pytest.raises(
        TrainingError, match=r"fit of my_models:build raised .* after 0 batches: indices\[0\] = 1 is not in \[0, 1\)$"
    ):
        executor.train(lab.batch(FEATURES, 4, labelled=1.0), lab.step())


def test_tables_of_the_host_are_refused(fit: Any) -> None:
    with pytest.raises(ConfigError, match=r"holds its embeddings itself.*\n.*embedding: none"):
        fit(model(), rows=100)


def test_a_loop_that_is_not_there_is_told(fit: Any) -> None:
    with pytest.raises(ConfigError, match="has no function 'train'") as caught:
        fit(model(), loop="my_models:train")
    assert caught.value.faults[0][0] == "executor.loop"


FIT = "model.fit(dataset, epochs=1, shuffle=False, verbose=0, callbacks="


@pytest.mark.parametrize(
    ("body", "batches", "timeout", "message"),
    [
        ("pass", 1, 30, "my_models:train returned, with batch 1 to be trained"),
        ("1 / 0", 1, 30, "my_models:train raised ZeroDivisionError after 0 batches: division by zero"),
        (f"dataset = dataset.shuffle(4)\n    {FIT}callbacks)", 1, 2, "within 2 seconds, and asks for another one"),
        (f"dataset = dataset.unbatch().batch(64)\n    {FIT}callbacks)", 1, 2, "and asks for another one"),
        (f"{FIT}[])", 1, 3, "and asks for another one: .* never acknowledges them"),
        (f"{FIT}callbacks * 2)", 1, 30, "began batch 1 before the one before it had ended"),
        (f"dataset = dataset.take(2)\n    {FIT}callbacks)", 3, 30, "returned, with batch 3 to be trained"),
        (f"{FIT}[*callbacks, Stop()])", 2, 30, "returned, with batch 2 to be trained"),
        (f"{FIT}[*callbacks, Raise()])", 2, 30, "raised OSError after 1 batches: no disk"),
        (
            "dataset = dataset.map(lambda x, y, w: (x, tf.debugging.check_numerics(y - 1e38 * y * 1e38, 'bad'), w))"
            f".prefetch(2)\n    {FIT}callbacks)",
            1,
            30,
            "(?s)raised InvalidArgumentError after 0 batches: .*bad",
        ),
    ],
    ids=["returns", "raises", "shuffles", "regroups", "no callbacks", "twice", "takes", "stops", "disk", "pipeline"],
)
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_loop_that_goes_wrong_is_an_error_in_time(
    lab: Any, fit: Any, body: str, batches: int, timeout: int, message: str
) -> None:
    more = f"""
class Stop(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = True

class Raise(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if batch == 1:
            raise OSError("no disk")

def train(model, dataset, callbacks):
    {body}
"""
    executor = fit(model(more=more), loop="my_models:train", loop_timeout=timeout)
    batch = lab.batch(FEATURES, 4, labelled=1.0)
    for _ in range(batches - 1):
        assert executor.train(batch, lab.step()).applied
    with pytest.raises(TrainingError, match=message) as caught:
        executor.train(batch, lab.step())
    if "asks for another one" in message or "returned" in message:
        assert "give `fit` the callbacks as they are" in str(caught.value)
    executor.close()


@pytest.mark.parametrize(
    "body",
    [
        f"{FIT}[*callbacks, Raise()])",
        f"{FIT}callbacks)\n    1 / 0",
        f"dataset = dataset.map(lambda x, y, w: (x, tf.debugging.check_numerics(y / 0.0, 'bad'), w)).prefetch(2)\n    "
        f"{FIT}callbacks)",
    ],
    ids=["a callback", "at its end", "pipeline"],
)
def test_of_a_loop_that_failed_nothing_is_kept(
    lab: Any, fit: Any, body: str, capfd: pytest.CaptureFixture[str]
) -> None:
    more = f"""
import weakref
fed = []

class Raise(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        raise OSError("no disk")

def train(model, dataset, callbacks):
    fed.append(weakref.ref(dataset))
    {body}
"""
    executor = fit(model(more=more), loop="my_models:train")
    batch = lab.batch(FEATURES, 4, labelled=1.0)

    def used() -> None:
        for number in range(2):
            executor.train(batch, lab.step(number))
        executor.close()

    with pytest.raises(TrainingError, match="my_models:train raised") as caught:
        used()
    executor.close()
    # The error is still there, with all the places that it came through.
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__.__traceback__ is not None
    assert [dataset() for dataset in sys.modules["my_models"].fed] == [None]
    # What TensorFlow says where an iterator outlives what it reads.
    assert "Could not find callback" not in capfd.readouterr().err


def test_a_loop_that_raises_at_its_end_is_told(lab: Any, fit: Any) -> None:
    executor = fit(
        model(more=f"def train(model, dataset, callbacks):\n    {FIT}callbacks)\n    1 / 0"), loop="my_models:train"
    )
    executor.train(lab.batch(FEATURES, 4, labelled=1.0), lab.step())
    with pytest.raises(TrainingError, match="my_models:train raised ZeroDivisionError after 1 batches"):
        executor.close()


def test_a_loop_that_hangs_at_its_end_is_told_in_time(lab: Any, fit: Any) -> None:
    more = f"""
import threading
released = threading.Event()

def train(model, dataset, callbacks):
    {FIT}callbacks)
    released.wait(30)
"""
    executor = fit(model(more=more), loop="my_models:train", loop_timeout=2)
    executor.train(lab.batch(FEATURES, 4, labelled=1.0), lab.step())
    with pytest.raises(TrainingError, match="my_models:train has not returned 2 seconds after its last batch"):
        executor.close()
    sys.modules["my_models"].released.set()
