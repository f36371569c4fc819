from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from penrose_host.errors import CheckpointDamaged
from penrose_host.testing.memory import MemoryCheckpoints

MODELS = ["logistic", "fm", "deepfm", "dcn", "noisy_model:build"]
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


@pytest.fixture(autouse=True)
def noisy_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "noisy_model.py").write_text(NOISY)
    (tmp_path / "typed_model.py").write_text(TYPED)
    (tmp_path / "tabled_model.py").write_text(TABLES)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("noisy_model", "typed_model", "tabled_model"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("model", "rows", "optimizer"),
    [(model, rows, "adagrad") for model in MODELS for rows in (1000, None)]
    + [("deepfm", rows, optimizer) for rows in (1000, None) for optimizer in ("sgd", "adam")],
)
def test_a_restored_run_goes_on_with_the_same_bytes(lab: Any, model: str, rows: int | None, optimizer: str) -> None:
    options = {
        "model": model,
        "rows": rows,
        "optimizer": {"name": optimizer, "learning_rate": 0.1},
        "dense_optimizer": {"name": optimizer, "learning_rate": 0.01},
    }
    straight, resumed = (lab.executor(lab.rich, **options) for _ in range(2))
    lab.train(straight, lab.rich, range(6))
    saved = lab.save(straight)
    lab.train(straight, lab.rich, range(6, 12))
    expected = lab.save(straight)
    scores = straight.predict(lab.batch(lab.rich, 30, seed=50))
    # Into one that has gone elsewhere in the meantime, as a rollback does.
    lab.train(resumed, lab.rich, range(100, 103))
    lab.load(resumed, saved)
    assert lab.save(resumed) == saved
    lab.train(resumed, lab.rich, range(6, 12))
    assert lab.save(resumed) == expected != saved
    again = resumed.predict(lab.batch(lab.rich, 30, seed=50))
    assert {head: score.tobytes() for head, score in again.items()} == {
        head: score.tobytes() for head, score in scores.items()
    }


@pytest.mark.parametrize("dense", [{"name": "sgd", "momentum": 0.9}, {"name": "adamw"}], ids=["momentum", "adamw"])
def test_a_run_restored_before_its_first_step_does_too(lab: Any, dense: dict[str, Any]) -> None:
    straight, resumed = (lab.executor(lab.rich, model="deepfm", dense_optimizer=dense) for _ in range(2))
    saved = lab.save(straight)
    lab.train(straight, lab.rich, range(5))
    lab.train(resumed, lab.rich, range(100, 103))
    lab.load(resumed, saved)
    lab.train(resumed, lab.rich, range(5))
    assert lab.save(resumed) == lab.save(straight)


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


def test_training_after_the_snapshot_does_not_reach_it(lab: Any) -> None:
    executor = lab.executor(lab.rich, model="deepfm", rows=None)
    lab.train(executor, lab.rich, range(2))
    before, snapshot = lab.save(executor), executor.snapshot()
    lab.train(executor, lab.rich, range(2, 4))
    checkpoints = MemoryCheckpoints()
    checkpoints.write("executor", snapshot)
    assert {"/".join(key): data for key, data in checkpoints.files.items()} == before


def test_a_model_without_dense_parameters_has_a_state_too(lab: Any) -> None:
    executor = lab.executor(lab.plain, model="logistic", bias=False)
    lab.train(executor, lab.plain, range(3))
    saved = lab.save(executor)
    again = lab.executor(lab.plain, model="logistic", bias=False)
    lab.load(again, saved)
    assert lab.save(again) == saved


OTHERS = {
    "model": {"model": "fm"},
    "hidden": {"hidden": [3]},
    "width": {"width": 4},
    "heads and features": {},
    "dense optimizer": {"dense_optimizer": {"name": "sgd"}},
    "layer": {"rows": None},
}


@pytest.mark.parametrize("other", OTHERS)
def test_the_state_of_another_job_is_refused_and_nothing_changes(lab: Any, other: str) -> None:
    written = lab.executor(lab.rich, model="deepfm")
    lab.train(written, lab.rich, range(2))
    features = lab.plain if other == "heads and features" else lab.rich
    executor = lab.executor(features, **{"model": "deepfm", **OTHERS[other]})
    lab.train(executor, features, range(1))
    saved = lab.save(executor)
    with pytest.raises(CheckpointDamaged, match="checkpoint saved, executor tensorflow"):
        lab.load(executor, lab.save(written))
    assert lab.save(executor) == saved


def test_the_layers_own_optimizer_must_be_the_same(lab: Any) -> None:
    written = lab.executor(lab.plain, rows=None)
    executor = lab.executor(lab.plain, rows=None, optimizer={"name": "adam"})
    with pytest.raises(CheckpointDamaged, match="adam"):
        lab.load(executor, lab.save(written))


def changed(**changes: Any) -> Any:
    """Edits the tensors of a saved state; None removes one."""

    def edit(saved: dict[str, bytes]) -> None:
        tensors = safetensors.numpy.load(saved["executor/state.safetensors"])
        for name, tensor in changes.items():
            name = name.replace("__", "/").replace("_dot_", ".")
            tensors.pop(name, None)
            if tensor is not None:
                tensors[name] = tensor
        saved["executor/state.safetensors"] = safetensors.numpy.save(tensors)

    return edit


def cut(saved: dict[str, bytes]) -> None:
    saved["executor/state.safetensors"] = saved["executor/state.safetensors"][:-5]


def garbled(saved: dict[str, bytes]) -> None:
    saved["executor/state.json"] = b"{"


def other_format(saved: dict[str, bytes]) -> None:
    saved["executor/state.json"] = json.dumps({**json.loads(saved["executor/state.json"]), "format": 2}).encode()


ZEROS = np.zeros((7, 7), np.float32)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (cut, "state|header|file|incomplete|buffer"),
        (garbled, "Expecting"),
        (other_format, "'format': 2"),
        (changed(model__0_dot_bias=None), "model/0.bias is not there, not float32"),
        (changed(model__0_dot_bias=ZEROS), r"model/0.bias is float32 \[7, 7\], not float32 \[2\]"),
        (changed(model__0_dot_bias=np.zeros(2)), "model/0.bias is float64"),
        (changed(model__more=ZEROS), r"model/more is float32 \[7, 7\], not in this model"),
        (changed(optimizer__0=None), "optimizer/0 is not there"),
        (changed(optimizer__9=ZEROS), "optimizer/9 is .* not in this model"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(lab: Any, edit: Any, message: str) -> None:
    executor = lab.executor(lab.rich, model="logistic")
    lab.train(executor, lab.rich, range(2))
    saved = lab.save(executor)
    lab.train(executor, lab.rich, range(2, 3))
    now = lab.save(executor)
    edit(saved)
    with pytest.raises(CheckpointDamaged, match=message):
        lab.load(executor, saved)
    assert lab.save(executor) == now
