from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from penrose_host.errors import CheckpointDamaged
from penrose_host.testing.memory import MemoryCheckpoints

MODELS = ["logistic", "fm", "deepfm", "dcn", "noisy_model:build"]
NOISY = """
import torch
from torch import nn

class Noisy(nn.Module):
    def __init__(self, features, width):
        super().__init__()
        self.names = features.categorical
        self.normal = nn.BatchNorm1d(len(self.names) * width)
        self.layers = nn.Sequential(nn.Dropout(0.5), nn.Linear(len(self.names) * width, len(features.labels)))

    def forward(self, inputs):
        return self.layers(self.normal(torch.cat([inputs[name] for name in self.names], 1)))

def build(features, width):
    return Noisy(features, width)
"""


@pytest.fixture(autouse=True)
def noisy_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "noisy_model.py").write_text(NOISY)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("noisy_model", None)


@pytest.mark.parametrize("rows", [1000, None], ids=["table", "layer"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "adam"])
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
    with pytest.raises(CheckpointDamaged, match="checkpoint saved, executor torch"):
        lab.load(executor, lab.save(written))
    assert lab.save(executor) == saved


def test_the_layers_own_optimizer_must_be_the_same(lab: Any) -> None:
    written = lab.executor(lab.plain, rows=None)
    executor = lab.executor(lab.plain, rows=None, optimizer={"name": "adam"})
    with pytest.raises(CheckpointDamaged, match="SparseAdam"):
        lab.load(executor, lab.save(written))


def changed(**changes: Any) -> Any:
    """Edits the tensors of a saved state; None removes one."""

    def edit(saved: dict[str, bytes]) -> None:
        tensors = safetensors.torch.load(saved["executor/state.safetensors"])
        for name, tensor in changes.items():
            name = name.replace("__", "/").replace("_dot_", ".")
            tensors.pop(name, None)
            if tensor is not None:
                tensors[name] = tensor
        saved["executor/state.safetensors"] = safetensors.torch.save(tensors)

    return edit


def cut(saved: dict[str, bytes]) -> None:
    saved["executor/state.safetensors"] = saved["executor/state.safetensors"][:-5]


def garbled(saved: dict[str, bytes]) -> None:
    saved["executor/state.json"] = b"{"


def other_format(saved: dict[str, bytes]) -> None:
    saved["executor/state.json"] = json.dumps({**json.loads(saved["executor/state.json"]), "format": 2}).encode()


ZEROS = torch.zeros(7, 7)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (cut, "state|header|file|incomplete|buffer"),
        (garbled, "Expecting"),
        (other_format, "'format': 2"),
        (changed(random__cpu=None), "random holds"),
        (changed(model__linear_dot_bias=None), "model holds"),
        (changed(model__linear_dot_bias=ZEROS), r"model holds .*\[7, 7\]"),
        (changed(model__more=ZEROS), "model holds"),
        (changed(optimizer__9_dot_exp_avg=ZEROS), "optimizer has no parameter 9"),
        (changed(optimizer__x=ZEROS), "optimizer has no parameter x"),
        (changed(optimizer__0_dot_exp_avg=ZEROS), "not its parameter's shape"),
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
