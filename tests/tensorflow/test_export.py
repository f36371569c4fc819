"""Exports as SavedModels: README.md's lines score them, and so does whatever loads one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from executor_suite.exports import ExportedRows, Exports, assert_readme_scores, assert_scores_equal
from tensorflow_exports import columns, loaded, serving, signature

from penrose_host import ConfigError, EncodedBatch
from penrose_host.embeddings import Initializer
from penrose_tensorflow.serving.servable import ExportedTable, _buckets


class TestExports(Exports):
    holds = "saved_model"


class TestExportedRows(ExportedRows):
    def hashed(self, ids: np.ndarray, rows: int) -> np.ndarray:
        return _buckets(tf.constant(ids), rows).numpy()

    def rows(self, held: Mapping[int, list[float]], first: Initializer, ids: np.ndarray) -> np.ndarray:
        table = ExportedTable(np.array(list(held)), np.array(list(held.values()), np.float32), None, first)
        return table(tf.constant(ids)).numpy()


TRACED = """
import keras
import tensorflow as tf
from penrose_tfplus_tensorflow import Embedding, Model

class Traced(Model):
    def __init__(self, features, plain):
        super().__init__()
        self.names = features.categorical
        self.rows = Embedding(4, options={"initializer": "normal"})
        self.out = keras.layers.Dense(1, activation="sigmoid")
        self.looked_up = self.looked_up_.python_function if plain else self.looked_up_

    @tf.function
    def looked_up_(self, ids, training):
        return self.rows(ids, training=training)

    def call(self, inputs, training=False):
        return self.out(tf.concat([self.looked_up(inputs[name], training) for name in self.names], 1))

def build(features, width, plain):
    model = Traced(features, plain)
    model.compile(optimizer="sgd", loss="binary_crossentropy")
    return model
"""


def test_a_table_in_a_function_of_an_earlier_trace_is_told_with_what_to_do(
    lab: Any, tmp_path: Path, write_module: Callable[[str, str], None]
) -> None:
    write_module("traced_models", TRACED)
    traced, plain = (
        lab.executor(lab.plain, rows=None, model="traced_models:build", loop="fit", model_options={"plain": plain})
        for plain in (False, True)
    )
    lab.train(traced, lab.plain, range(2))
    with pytest.raises(ConfigError, match=r"traced_models:build reads a table .*\n.*call its python_function"):
        traced.export(tmp_path / "traced")
    lab.train(plain, lab.plain, range(2))
    plain.export(tmp_path / "plain")
    assert_scores_equal(plain, loaded(tmp_path / "plain"), lab.batch(lab.plain, 5))


FULL = """
import resource, sys
from pathlib import Path
from penrose_host import ClusterSpec, ExecutorContext, FeatureSpec, Role
from penrose_tensorflow.executor import TensorflowExecutor as E
executor = E(E.Options(model="fm", embedding_rows=2000))
executor.setup(ExecutorContext(FeatureSpec(("a",), labels=("y",)), Role.CHIEF, 0, ClusterSpec.single()))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    executor.export(Path(sys.argv[1]))
except OSError as error:
    print("OSError", sys.argv[1] in str(error))
"""


@pytest.mark.parametrize("limit", [0, 20_000])
def test_a_model_that_does_not_fit_on_the_disk_is_an_error_of_the_disk(tmp_path: Path, limit: int) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "OSError True"), done.stderr[-2000:]


def test_the_lines_of_the_readme_score_with_nothing_but_tensorflow(lab: Any, tmp_path: Path) -> None:
    def write(batch: EncodedBatch) -> str:
        np.savez(tmp_path / "rows.npz", **columns(tmp_path, batch))
        return "rows.npz"

    block = ("penrose_host", "penrose_tensorflow", "pyarrow", "pydantic", "safetensors", "torch")
    assert_readme_scores(lab, tmp_path, write, block)


def test_inputs_and_scores_are_named_after_their_features(lab: Any, tmp_path: Path) -> None:
    lab.executor(lab.rich).export(tmp_path)
    assert signature(tmp_path)["numeric"]["price"] == "numeric_price"
    assert signature(tmp_path)["lists"]["history"] == {
        "values": "list_history_values",
        "lengths": "list_history_lengths",
    }
    assert signature(tmp_path)["scores"]["click"] == "score_click"


def test_an_export_holds_no_operation_that_stock_tensorflow_has_not(lab: Any, tmp_path: Path) -> None:
    """Only functions and stock kernels, no Python (`PyFunc`), no table of a resource that a server lacks."""
    executor = lab.executor(lab.rich, model="deepfm")
    executor.export(tmp_path)
    graph = serving(tmp_path).graph.as_graph_def()
    names = {node.op for node in graph.node} | {node.op for f in graph.library.function for node in f.node_def}
    assert not [name for name in names if "Py" in name or "Kv" in name or "Penrose" in name]
    assert "SearchSorted" in names or {"LowerBound", "UpperBound"} & names
