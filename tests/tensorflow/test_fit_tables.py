"""Native tables in the layers of a model that Keras's own loop trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from penrose_host import FeatureSpec
from penrose_host.errors import ConfigError, TrainingError

#: TensorFlow traces a model anew in nearly every test.
pytestmark = pytest.mark.slow

FEATURES = FeatureSpec(categorical=("user", "item"), labels=("click",))
MODEL = """
import keras
from penrose_tfplus_tensorflow import Embedding, Model


class Pairs(Model):
    def __init__(self, features, width):
        super().__init__()
        self.names = features.categorical
        self.table = Embedding(width, options={"initializer": "normal"})
        self.out = keras.layers.Dense(1, activation="sigmoid")

    def call(self, inputs, training=False):
        rows = [self.table(inputs[name], training=training) for name in self.names]
        return self.out(keras.ops.concatenate(rows, 1))


def build(features, width):
    model = Pairs(features, width)
    model.compile(optimizer=keras.optimizers.Adagrad(0.1), loss="binary_crossentropy")
    return model
"""


@pytest.fixture
def executor(lab: Any, write_module: Callable[[str, str], None]) -> Callable[..., Any]:
    def made(text: str = MODEL) -> Any:
        write_module("table_models", text)
        return lab.executor(FEATURES, rows=None, model="table_models:build", loop="fit", width=4)

    return made


def test_they_learn_and_go_on_from_a_checkpoint_as_if_nothing_had_been(lab: Any, executor: Any) -> None:
    one = executor()
    lab.train(one, FEATURES, range(4))
    saved = lab.save(one)
    lab.train(one, FEATURES, range(4, 8))
    (table,) = one._parts.learner.tables().values()
    assert int(table.size()) == 30  # every id there is
    assert int(table.counters()["steps"]) == 8
    other = executor()
    lab.load(other, saved)
    lab.train(other, FEATURES, range(4, 8))
    assert lab.save(other) == lab.save(one)


def test_an_export_holds_them_in_stock_operations(lab: Any, executor: Any, tmp_path: Path) -> None:
    trained = executor()
    lab.train(trained, FEATURES, range(5))
    trained.export(tmp_path / "export")
    served = tf.saved_model.load(str(tmp_path / "export" / "saved_model")).signatures["serving_default"]
    graph = served.graph.as_graph_def()
    names = {node.op for node in graph.node} | {node.op for f in graph.library.function for node in f.node_def}
    assert not [name for name in names if name.startswith("Tfplus")]
    batch = lab.batch(FEATURES, 9, seed=99)
    ids = np.concatenate([batch.ids, [[12345, -1]]])  # the last row's were never trained
    name = json.loads((tmp_path / "export" / "features.json").read_text())["signature"]["scores"]["click"]
    found = served(ids=tf.constant(ids))[name].numpy()
    np.testing.assert_allclose(found[:9], trained.predict(batch)["click"], atol=1e-6)
    assert np.isfinite(found[9])


def test_a_model_that_would_never_train_them_is_refused(executor: Any) -> None:
    with pytest.raises(ConfigError, match=r"never trains\n.*penrose_tfplus_tensorflow\.Model, or put TrainsTables"):
        executor(MODEL.replace("(Model)", "(keras.Model)"))


@pytest.mark.parametrize(
    "loss",
    [
        "lambda truth, found: truth + tf.sqrt(0 * found)",
        "lambda truth, found: found, keras.optimizers.Adam(float('inf'))",
    ],
    ids=["gradient", "update"],
)
def test_a_step_that_is_not_finite_ends_the_run(lab: Any, executor: Any, loss: str) -> None:
    """What it says, in a line: the dense variables alone could be put back."""
    loss, _, optimizer = loss.partition(", keras")
    text = MODEL.replace('"binary_crossentropy"', loss).replace(
        "import keras\n", "import keras\nimport tensorflow as tf\n"
    )
    if optimizer:
        text = text.replace("keras.optimizers.Adagrad(0.1)", f"keras{optimizer}")
    one = executor(text)
    with pytest.raises(TrainingError, match="a training step of table_models:build is not finite, and") as caught:
        one.train(lab.batch(FEATURES, 8, labelled=1.0), lab.step())
    assert str(caught.value).count("\n") == 1
    assert "a resumed run goes on from the last checkpoint" in str(caught.value)
