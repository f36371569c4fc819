from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from penrose_host import EncodedBatch, FeatureSpec, ListFeature, TableSpec
from penrose_host.embeddings.initializers import Initializer
from penrose_host.embeddings.mixing import buckets
from penrose_host.errors import ConfigError
from penrose_tensorflow.serving.servable import ExportedTable, _buckets

README = Path(__file__).parents[2] / "plugins" / "penrose-tensorflow" / "README.md"
INT64 = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 5000)


def described(folder: Path) -> Any:
    return json.loads((folder / "features.json").read_text("utf-8"))


def columns(folder: Path, batch: EncodedBatch) -> dict[str, np.ndarray]:
    """A batch as the signature takes it."""
    names = described(folder)["signature"]
    given = {"ids": batch.ids}
    given |= {names["numeric"][name]: values for name, values in batch.numeric.items()}
    for name, ragged in batch.lists.items():
        given[names["lists"][name]["values"]] = ragged.values[ragged.offsets[0] : ragged.offsets[-1]]
        given[names["lists"][name]["lengths"]] = np.diff(ragged.offsets)
    return given


def loaded(folder: Path) -> Any:
    return tf.saved_model.load(str(folder / "saved_model"))


def assert_scores_equal(executor: Any, folder: Path, model: Any, batch: EncodedBatch) -> None:
    given = {name: tf.constant(array) for name, array in columns(folder, batch).items()}
    heads = described(folder)["signature"]["scores"]
    found = model.signatures["serving_default"](**given)
    expected = executor.predict(batch)
    assert heads.keys() == expected.keys()
    for head, scores in expected.items():
        assert found[heads[head]].shape == scores.shape
        np.testing.assert_allclose(found[heads[head]], scores, atol=1e-6)


SLOW = pytest.mark.slow


@pytest.mark.parametrize("rows", [1000, None], ids=["table", "layer"])
@pytest.mark.parametrize(
    "model", ["logistic", "deepfm", pytest.param("fm", marks=SLOW), pytest.param("dcn", marks=SLOW)]
)
def test_an_export_scores_any_number_of_rows_as_the_executor_does(
    lab: Any, tmp_path: Path, model: str, rows: int | None
) -> None:
    executor = lab.executor(lab.rich, model=model, rows=rows, init_scale=0.3)
    lab.train(executor, lab.rich, range(10))
    saved = lab.save(executor)
    executor.export(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.json", "saved_model"]
    served = loaded(tmp_path)
    for count in (0, 1, 2, 3, 50):
        assert_scores_equal(executor, tmp_path, served, lab.batch(lab.rich, count, seed=count))
    # Ids never seen in training, whose rows still are what they first were.
    unseen = lab.batch(lab.rich, 40)
    unseen = EncodedBatch(INT64[:120].reshape(40, 3), dict(unseen.lists), dict(unseen.numeric), {})
    assert_scores_equal(executor, tmp_path, served, unseen)
    assert lab.save(executor) == saved
    # What was exported is of that moment.
    batch = lab.batch(lab.rich, 20, seed=3)
    before = executor.predict(batch)["click"]
    lab.train(executor, lab.rich, range(10, 20))
    given = {name: tf.constant(array) for name, array in columns(tmp_path, batch).items()}
    score = served.signatures["serving_default"](**given)["score_click"]
    assert np.abs(before - score).max() < 1e-6 < np.abs(executor.predict(batch)["click"] - score).max()


@pytest.mark.parametrize("model", ["logistic", "deepfm"])
@pytest.mark.parametrize(
    "features",
    [
        FeatureSpec(categorical=("a",), labels=("y",)),
        FeatureSpec(numeric=("x",), labels=("y",)),
        FeatureSpec(
            categorical=("ünï", "b"),
            lists=(ListFeature("the list"), ListFeature("a"), ListFeature("a_values"), ListFeature("0")),
            numeric=("x y", "ids", "0", "X", "x", "1"),
            labels=("y?", "1", "numeric_0"),
        ),
    ],
    ids=["one id", "numbers only", "names that no signature can have"],
)
def test_an_untrained_model_of_whatever_features_is_exported_too(
    lab: Any, tmp_path: Path, model: str, features: FeatureSpec
) -> None:
    executor = lab.executor(features, model=model)
    executor.export(tmp_path)
    served = loaded(tmp_path)
    for count in (0, 1, 2, 7):
        assert_scores_equal(executor, tmp_path, served, lab.batch(features, count))
    found = described(tmp_path)
    assert found["features"]["categorical"] == list(features.categorical)
    assert found["features"]["labels"] == list(features.labels)
    assert found["model"] == model
    inputs = served.signatures["serving_default"].structured_input_signature[1]
    assert inputs.keys() == columns(tmp_path, lab.batch(features, 1)).keys()


def test_a_model_of_the_users_is_exported_too(lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(# my_models\.py\n.*?)```", README.read_text("utf-8"), re.DOTALL)
    (tmp_path / "exported_models.py").write_text(example, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    executor = lab.executor(lab.rich, model="exported_models:towers")
    lab.train(executor, lab.rich, range(5))
    executor.export(tmp_path)
    served = loaded(tmp_path)
    for count in (0, 1, 2, 7):
        assert_scores_equal(executor, tmp_path, served, lab.batch(lab.rich, count))


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
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "traced_models.py").write_text(TRACED)
    monkeypatch.syspath_prepend(str(tmp_path))
    traced, plain = (
        lab.executor(lab.plain, rows=None, model="traced_models:build", loop="fit", model_options={"plain": plain})
        for plain in (False, True)
    )
    lab.train(traced, lab.plain, range(2))
    with pytest.raises(ConfigError, match=r"traced_models:build reads a table .*\n.*call its python_function"):
        traced.export(tmp_path / "traced")
    lab.train(plain, lab.plain, range(2))
    plain.export(tmp_path / "plain")
    assert_scores_equal(plain, tmp_path / "plain", loaded(tmp_path / "plain"), lab.batch(lab.plain, 5))


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
    executor = lab.executor(lab.rich, model="deepfm", init_scale=0.3)
    lab.train(executor, lab.rich, range(5))
    executor.export(tmp_path)
    batch = lab.batch(lab.rich, 9, seed=77)
    ids = np.concatenate([batch.ids[:5], INT64[:12].reshape(4, 3)])
    batch = EncodedBatch(ids, dict(batch.lists), dict(batch.numeric), {})
    np.savez(tmp_path / "rows.npz", **columns(tmp_path, batch))
    (lines,) = re.findall(r"```python\n(# score\.py\n.*?)```", README.read_text("utf-8"), re.DOTALL)
    blocked = "penrose_host", "penrose_tensorflow", "pyarrow", "pydantic", "safetensors", "torch"
    (tmp_path / "score.py").write_text(
        f"import sys\nfor name in {blocked}:\n    sys.modules[name] = None\n{lines}", "utf-8"
    )
    command = [sys.executable, "-I", "score.py", str(tmp_path), "rows.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for head, scores in executor.predict(batch).items():
        np.testing.assert_allclose(found[head], scores, atol=1e-6)


def test_an_export_holds_no_operation_that_stock_tensorflow_has_not(lab: Any, tmp_path: Path) -> None:
    """Only functions and stock kernels, no Python (`PyFunc`), no table of a resource that a server lacks."""
    executor = lab.executor(lab.rich, model="deepfm")
    executor.export(tmp_path)
    graph = loaded(tmp_path).signatures["serving_default"].graph.as_graph_def()
    names = {node.op for node in graph.node} | {node.op for f in graph.library.function for node in f.node_def}
    assert not [name for name in names if "Py" in name or "Kv" in name or "Penrose" in name]
    assert "SearchSorted" in names or {"LowerBound", "UpperBound"} & names


@pytest.mark.parametrize("rows", [1, 1000, 2**20, 2**31])
def test_an_export_hashes_as_the_host_does(rows: int) -> None:
    assert _buckets(tf.constant(INT64), rows).numpy().tolist() == buckets(INT64, rows).tolist()


@pytest.mark.parametrize(
    "initializer",
    [("zeros", {}), ("constant", {"value": 0.5}), ("uniform", {"low": -2.0}), ("normal", {"mean": 1.0, "stddev": 3.0})],
    ids=lambda initializer: initializer[0],
)
@pytest.mark.parametrize("seed", [0, 1, -1, 2**64 + 3])
def test_an_export_knows_the_first_rows_of_keys_it_does_not_hold(initializer: Any, seed: int) -> None:
    first = Initializer.of(TableSpec("t", 3, initializer=initializer, seed=seed))
    held = np.array([[7.0, 8.0, 9.0]], np.float32)
    table = ExportedTable(np.array([5]), held, None, first)
    np.testing.assert_allclose(table(tf.constant(INT64)), first.rows(INT64), rtol=1e-5, atol=1e-6)
    assert table(tf.constant([5], tf.int64)).numpy().tolist() == held.tolist()
