"""Tables as stock TensorFlow reads them: what is exported needs none of the native ops."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings, strategies as st

from penrose_tfplus_tensorflow import Embedding, KvVariable, Model, embedding_lookup, safe_embedding_lookup_sparse

INT64 = st.integers(-(2**63), 2**63 - 1)


def trained(keys: Any, **options: Any) -> KvVariable:
    kv = KvVariable("table", 3, optimizer="sgd", initializer="normal", **options)
    kv.gather(np.asarray(keys, kv.key_dtype.as_numpy_dtype), train=True)
    return kv


@settings(max_examples=40)
@given(st.lists(INT64, max_size=20), st.lists(INT64, max_size=20))
def test_reads_what_the_table_reads(held: list[int], others: list[int]) -> None:
    kv = trained(held)
    keys = np.array([*held, *others], np.int64)
    frozen = kv.frozen()
    np.testing.assert_array_equal(frozen(tf.constant(keys)), kv.gather(keys))
    with frozen:
        np.testing.assert_array_equal(kv.gather(keys), frozen(tf.constant(keys)))


def test_is_of_its_instant_and_only_read_where_it_is_entered() -> None:
    kv = trained([1, 2])
    before = kv.gather([1, 2]).numpy()
    frozen = kv.frozen()
    kv.scatter_add([1, 2], np.ones((2, 3), np.float32))
    with frozen:
        np.testing.assert_array_equal(kv.gather([1, 2]), before)
        with kv.frozen():
            np.testing.assert_array_equal(kv.gather([1, 2]), before)
        np.testing.assert_array_equal(kv.gather([1, 2]), before)
        np.testing.assert_array_equal(trained([1]).gather([1]), before[:1])  # another table, of equal first values
    np.testing.assert_array_equal(kv.gather([1, 2]), before + 1)


def test_stands_for_its_own_table_also_when_that_is_gone() -> None:
    kv = trained([1])
    frozen = kv.frozen()
    seen = kv.gather([1]).numpy()
    del kv
    gc.collect()
    for _ in range(200):  # one of them is likely to lie where the first one lay
        other = trained([2])
        with frozen:
            assert not other.gather([1]).numpy().any()
    np.testing.assert_array_equal(frozen(tf.constant([1], tf.int64)), seen)


def test_takes_keys_of_any_shape_and_dtype() -> None:
    kv = trained([7, 8], key_dtype=tf.int32)
    keys = tf.constant([[7, 8], [9, 7]], tf.int32)
    with kv.frozen():
        found = kv.gather(keys)
    assert found.shape == (2, 2, 3)
    np.testing.assert_array_equal(found, kv.gather(keys))


@pytest.mark.parametrize("reading", [{"train": True}, {"unseen": "first"}])
def test_cannot_do_what_only_a_living_table_can(reading: dict[str, Any]) -> None:
    kv = trained([1])
    with kv.frozen(), pytest.raises(ValueError, match="table 'table' is frozen"):
        kv.gather([1], **reading)


SCORE = """
import sys
sys.modules["penrose_tfplus_tensorflow"] = sys.modules["penrose_tfplus"] = None
import numpy as np
import tensorflow as tf
serving = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
np.save(sys.argv[3], serving(tf.constant(np.load(sys.argv[2])))["scores"].numpy())
"""


def test_a_saved_model_scores_where_only_tensorflow_is_installed(tmp_path: Path) -> None:
    kv = trained([-5, 3, 2**62])
    keys = np.array([[3, -5, 0], [2**62, -(2**63), 3]], np.int64)

    def scores(ids: tf.Tensor) -> tf.Tensor:
        pooled = safe_embedding_lookup_sparse(kv, tf.RaggedTensor.from_tensor(tf.abs(ids) // 2))
        return tf.sigmoid(tf.reduce_sum(embedding_lookup(kv, ids), [1, 2]) + tf.reduce_sum(pooled, 1))

    module = tf.Module()
    module.table = kv.frozen()
    with module.table:
        serving = tf.function(lambda ids: {"scores": scores(ids)}).get_concrete_function(
            tf.TensorSpec([None, 3], tf.int64)
        )
        tf.saved_model.save(module, str(tmp_path / "model"), {"serving_default": serving})
    np.save(tmp_path / "keys.npy", keys)
    command = [sys.executable, "-c", SCORE, *(str(tmp_path / name) for name in ("model", "keys.npy", "scores.npy"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), scores(tf.constant(keys)), atol=1e-6)


def test_a_function_that_was_called_before_is_served_when_it_is_made_anew(tmp_path: Path) -> None:
    kv = trained([7])
    signature = [tf.TensorSpec([None], tf.int64)]
    score = tf.function(lambda ids: tf.reduce_sum(kv.gather(ids), 1), input_signature=signature)
    expected = score(tf.constant([7, 8], tf.int64))
    module = tf.Module()
    module.table = kv.frozen()
    with module.table:
        with pytest.raises(AssertionError, match="untracked"):
            tf.saved_model.save(module, str(tmp_path / "no"), {"serving_default": score.get_concrete_function()})
        served = tf.function(score.python_function, input_signature=signature)
        tf.saved_model.save(module, str(tmp_path / "model"), {"serving_default": served.get_concrete_function()})
    serving = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    assert not [node.op for node in serving.graph.as_graph_def().node if node.op.startswith("Tfplus")]
    np.testing.assert_array_equal(serving(tf.constant([7, 8], tf.int64))["output_0"], expected)


def test_a_model_with_a_table_cannot_be_exported_whole_and_says_what_can(tmp_path: Path) -> None:
    ids = keras.Input([3], dtype="int64")
    model = Model(ids, keras.layers.Dense(1)(keras.layers.Flatten()(Embedding(4, name="users")(ids))))
    module = tf.Module()
    module.table, module.frozen = trained([1]), trained([1]).frozen()
    for save, name in (
        (lambda to: model.export(to, verbose=False), "users"),
        (lambda to: tf.saved_model.save(model, to), "users"),
        (lambda to: tf.saved_model.save(module, to), "table"),
    ):
        with pytest.raises(ValueError, match=rf"a SavedModel cannot hold table '{name}'.*tracks kv.frozen\(\)"):
            save(str(tmp_path / "model"))
    tf.train.Checkpoint(model=model, module=module).write(str(tmp_path / "ckpt"))
