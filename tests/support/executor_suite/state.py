"""Whatever comes between, a restored executor goes on as the one that was saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import safetensors.numpy

from penrose_host.errors import CheckpointDamaged
from penrose_host.testing.memory import MemoryCheckpoints

Saved = dict[str, bytes]
#: In place of a tensor of another shape.
ZEROS = np.zeros((7, 7), np.float32)

OTHERS = {
    "model": {"model": "fm"},
    "hidden": {"hidden": [3]},
    "width": {"width": 4},
    "heads and features": {},
    "dense optimizer": {"dense_optimizer": {"name": "sgd"}},
    "layer": {"rows": None},
}


def changed(**changes: Any) -> Callable[[Saved], None]:
    """Edits the tensors of a saved state; None removes one."""

    def edit(saved: Saved) -> None:
        tensors = safetensors.numpy.load(saved["executor/state.safetensors"])
        for name, tensor in changes.items():
            name = name.replace("__", "/").replace("_dot_", ".")
            tensors.pop(name, None)
            if tensor is not None:
                tensors[name] = tensor
        saved["executor/state.safetensors"] = safetensors.numpy.save(tensors)

    return edit


def cut(saved: Saved) -> None:
    saved["executor/state.safetensors"] = saved["executor/state.safetensors"][:-5]


def garbled(saved: Saved) -> None:
    saved["executor/state.json"] = b"{"


def other_format(saved: Saved) -> None:
    saved["executor/state.json"] = json.dumps({**json.loads(saved["executor/state.json"]), "format": 2}).encode()


def assert_refused(lab: Any, edit: Callable[[Saved], None], message: str) -> None:
    """The saved state of a logistic regression, after an edit, is refused, and what it would replace stays."""
    executor = lab.executor(lab.rich, model="logistic")
    lab.train(executor, lab.rich, range(2))
    saved = lab.save(executor)
    lab.train(executor, lab.rich, range(2, 3))
    now = lab.save(executor)
    edit(saved)
    with pytest.raises(CheckpointDamaged, match=message):
        lab.load(executor, saved)
    assert lab.save(executor) == now


class RestoredRun:
    """To be parametrised by `model`, `rows` (of a table; None: of a layer) and `optimizer`."""

    def test_a_restored_run_goes_on_with_the_same_bytes(
        self, lab: Any, model: str, rows: int | None, optimizer: str
    ) -> None:
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


class State:
    #: What a checkpoint calls the optimizer `adam` of a layer.
    adam: ClassVar[str]

    @pytest.mark.parametrize("dense", [{"name": "sgd", "momentum": 0.9}, {"name": "adamw"}], ids=["momentum", "adamw"])
    def test_a_run_restored_before_its_first_step_does_too(self, lab: Any, dense: dict[str, Any]) -> None:
        straight, resumed = (lab.executor(lab.rich, model="deepfm", dense_optimizer=dense) for _ in range(2))
        saved = lab.save(straight)
        lab.train(straight, lab.rich, range(5))
        lab.train(resumed, lab.rich, range(100, 103))
        lab.load(resumed, saved)
        lab.train(resumed, lab.rich, range(5))
        assert lab.save(resumed) == lab.save(straight)

    def test_training_after_the_snapshot_does_not_reach_it(self, lab: Any) -> None:
        executor = lab.executor(lab.rich, model="deepfm", rows=None)
        lab.train(executor, lab.rich, range(2))
        before, snapshot = lab.save(executor), executor.snapshot()
        lab.train(executor, lab.rich, range(2, 4))
        checkpoints = MemoryCheckpoints()
        checkpoints.write("executor", snapshot)
        assert {"/".join(key): data for key, data in checkpoints.files.items()} == before

    def test_a_model_without_dense_parameters_has_a_state_too(self, lab: Any) -> None:
        executor = lab.executor(lab.plain, model="logistic", bias=False)
        lab.train(executor, lab.plain, range(3))
        saved = lab.save(executor)
        again = lab.executor(lab.plain, model="logistic", bias=False)
        lab.load(again, saved)
        assert lab.save(again) == saved

    @pytest.mark.parametrize("other", OTHERS)
    def test_the_state_of_another_job_is_refused_and_nothing_changes(self, lab: Any, other: str) -> None:
        written = lab.executor(lab.rich, model="deepfm")
        lab.train(written, lab.rich, range(2))
        features = lab.plain if other == "heads and features" else lab.rich
        executor = lab.executor(features, **{"model": "deepfm", **OTHERS[other]})
        lab.train(executor, features, range(1))
        saved = lab.save(executor)
        with pytest.raises(CheckpointDamaged, match=f"checkpoint saved, executor {lab.name}"):
            lab.load(executor, lab.save(written))
        assert lab.save(executor) == saved

    def test_the_layers_own_optimizer_must_be_the_same(self, lab: Any) -> None:
        written = lab.executor(lab.plain, rows=None)
        executor = lab.executor(lab.plain, rows=None, optimizer={"name": "adam"})
        with pytest.raises(CheckpointDamaged, match=self.adam):
            lab.load(executor, lab.save(written))

    @pytest.mark.parametrize(
        ("edit", "message"),
        [
            (cut, "state|header|file|incomplete|buffer"),
            (garbled, "Expecting"),
            (other_format, "'format': 2"),
        ],
    )
    def test_a_state_that_is_damaged_is_refused(self, lab: Any, edit: Any, message: str) -> None:
        assert_refused(lab, edit, message)
