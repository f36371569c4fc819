"""The executor's part of a checkpoint: `state.safetensors`, and `state.json`, which says whose it is.

The tensors' names are PART/NAME; the parts are

* `model`: parameters and buffers; `optimizer`: the dense optimizer's state, as PARAMETER.KEY by number
* `layer`, `layer_optimizer`: the same of the embedding layer (with `embedding: none`)
* `random`: the generators that dropout and the like draw from

Embedding tables are not in it: the host keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from penrose_host import CheckpointDamaged, Snapshot
from penrose_torch.rows import LayerRows

if TYPE_CHECKING:
    from penrose_host import CheckpointReader, SnapshotWriter
    from penrose_torch.learner import Learner

__all__ = ["restore", "snapshot"]

Tensors: TypeAlias = dict[str, Tensor]


class _StateSnapshot(Snapshot):
    def __init__(self, tensors: Tensors, identity: Mapping[str, Any]) -> None:
        self._tensors = tensors
        self._identity = identity

    def write(self, writer: SnapshotWriter) -> None:
        writer.add("state.json", json.dumps(self._identity, sort_keys=True).encode())
        writer.add("state.safetensors", safetensors.torch.save(self._tensors))


def snapshot(learner: Learner) -> Snapshot:
    """A copy of everything that decides what the next step does."""
    copied = {
        f"{part}/{name}": tensor.detach().cpu().clone()
        for part, tensors in _parts(learner).items()
        for name, tensor in tensors.items()
    }
    return _StateSnapshot(copied, _identity(learner))


def restore(learner: Learner, reader: CheckpointReader) -> None:
    """Become what the snapshot held. Raises `CheckpointDamaged`, nothing changed, where it does not fit the model."""
    try:
        identity = json.loads(reader.read("state.json"))
        if identity != _identity(learner):
            raise ValueError(f"state.json: it was written by {identity}, not by {_identity(learner)}")
        found: dict[str, Tensors] = {}
        for name, tensor in safetensors.torch.load(reader.read("state.safetensors")).items():
            part, _, rest = name.partition("/")
            found.setdefault(part, {})[rest] = tensor
        states = _checked(learner, found)
    except (SafetensorError, ValueError) as error:
        raise CheckpointDamaged(
            f"checkpoint {reader.ref.checkpoint}, executor torch: {error}",
            hint="resume with the job that wrote the checkpoint, or pick another with --resume-from",
        ) from error
    learner.model.load_state_dict(found.get("model", {}))
    if isinstance(learner.rows, LayerRows):
        learner.rows.layer.load_state_dict(found["layer"])
    for part, optimizer in _optimizers(learner).items():
        optimizer.load_state_dict({"state": states[part], "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(found["random"]["cpu"])
    if learner.layout.device.type == "cuda":
        torch.cuda.set_rng_state(found["random"]["cuda"], learner.layout.device)


def _identity(learner: Learner) -> dict[str, Any]:
    return {
        "format": 1,
        "model": learner.name,
        "optimizers": {part: type(optimizer).__name__ for part, optimizer in _optimizers(learner).items()},
    }


def _optimizers(learner: Learner) -> dict[str, torch.optim.Optimizer]:
    found = {} if learner.optimizer is None else {"optimizer": learner.optimizer}
    if isinstance(learner.rows, LayerRows):
        found["layer_optimizer"] = learner.rows.optimizer
    return found


def _parts(learner: Learner) -> dict[str, Tensors]:
    parts = {"model": learner.model.state_dict(), "random": {"cpu": torch.get_rng_state()}}
    if isinstance(learner.rows, LayerRows):
        parts["layer"] = learner.rows.layer.state_dict()
    for part, optimizer in _optimizers(learner).items():
        # Some count their steps in a Python integer: kept as an int64 without dimensions, which none has of its own.
        parts[part] = {
            f"{number}.{key}": value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.int64)
            for number, state in optimizer.state_dict()["state"].items()
            for key, value in state.items()
            if value is not None
        }
    if learner.layout.device.type == "cuda":
        parts["random"]["cuda"] = torch.cuda.get_rng_state(learner.layout.device)
    return parts


def _checked(learner: Learner, found: Mapping[str, Tensors]) -> dict[str, dict[int, dict[str, Any]]]:
    """The optimizers' states by part, parameter and key. Raises ValueError for whatever does not fit the learner."""
    optimizers = _optimizers(learner)
    for part, tensors in _parts(learner).items():
        # (A checkpoint from a GPU also goes on without one.)
        there = {name: tensor for name, tensor in found.get(part, {}).items() if part != "random" or name in tensors}
        if part not in optimizers and _kinds(there) != _kinds(tensors):
            raise ValueError(f"{part} holds {_kinds(there)}, not {_kinds(tensors)}")
    states: dict[str, dict[int, dict[str, Any]]] = {}
    for part, optimizer in optimizers.items():
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        states[part] = {}
        for name, tensor in found.get(part, {}).items():
            number, _, key = name.partition(".")
            if not number.isdecimal() or int(number) >= len(parameters):
                raise ValueError(f"{part} has no parameter {number}")
            if tensor.dim() and tensor.shape != parameters[int(number)].shape:
                raise ValueError(f"{part}/{name} is {list(tensor.shape)}, which is not its parameter's shape")
            number_of_steps = not tensor.dim() and tensor.dtype == torch.int64
            states[part].setdefault(int(number), {})[key] = int(tensor) if number_of_steps else tensor
    return states


def _kinds(tensors: Tensors) -> dict[str, str]:
    return {name: f"{tensor.dtype} {list(tensor.shape)}" for name, tensor in sorted(tensors.items())}
