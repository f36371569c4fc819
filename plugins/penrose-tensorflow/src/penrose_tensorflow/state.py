"""The executor's part of a checkpoint: `state.safetensors`, and `state.json`, which says whose it is.

The tensors' names are PART/NAME, as `Learner.parts` names them: `model` (parameters, moving averages, the generators of
dropout), `optimizer`, and with `embedding: none` `layer` and `layer_optimizer`. What `Learner.tables` has lies in
`tables.safetensors` as TABLE/NAME. Embedding tables of the host are not in it: the host keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from penrose_host.errors import CheckpointDamaged
from penrose_host.snapshots import Snapshot

if TYPE_CHECKING:
    from penrose_host.snapshots import CheckpointReader, SnapshotWriter
    from penrose_tensorflow.learner import Learner

__all__ = ["restore", "snapshot"]

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any]]


class _StateSnapshot(Snapshot):
    def __init__(self, files: Mapping[str, Arrays], identity: Mapping[str, Any]) -> None:
        self._files = files
        self._identity = identity

    def write(self, writer: SnapshotWriter) -> None:
        writer.add("state.json", json.dumps(self._identity, sort_keys=True).encode())
        for name, arrays in self._files.items():
            writer.add(name, safetensors.numpy.save(arrays))


def snapshot(learner: Learner) -> Snapshot:
    """A copy of everything that decides what the next step does."""
    files = {
        "state.safetensors": {name: np.asarray(variable.numpy()) for name, variable in _variables(learner).items()}
    }
    tables = {
        f"{table}/{name}": np.asarray(tensor)
        for table, stateful in learner.tables().items()
        for name, tensor in stateful.state().items()
    }
    if tables:
        files["tables.safetensors"] = tables
    return _StateSnapshot(files, _identity(learner))


def restore(learner: Learner, reader: CheckpointReader) -> None:
    """Become what the snapshot held. Raises `CheckpointDamaged`, nothing changed, where it does not fit the model."""
    variables = _variables(learner)
    try:
        identity = json.loads(reader.read("state.json"))
        if identity != _identity(learner):
            raise ValueError(f"state.json: it was written by {identity}, not by {_identity(learner)}")
        found: Arrays = safetensors.numpy.load(reader.read("state.safetensors"))
        _check(variables, found)
        tables = _tables(learner, reader)
    except (SafetensorError, ValueError) as error:
        raise CheckpointDamaged(
            f"checkpoint {reader.ref.checkpoint}, executor tensorflow: {error}",
            hint="resume with the job that wrote the checkpoint, or pick another with --resume-from",
        ) from error
    for name, variable in variables.items():
        variable.assign(found[name])
    for table, stateful in learner.tables().items():
        stateful.load_state(tables[table])


def _identity(learner: Learner) -> dict[str, Any]:
    return {"format": 1, **learner.identity(), "tables": sorted(learner.tables())}


def _variables(learner: Learner) -> dict[str, Any]:
    return {f"{part}/{name}": variable for part, named in learner.parts().items() for name, variable in named.items()}


def _check(variables: Mapping[str, Any], found: Arrays) -> None:
    expected = {name: f"{variable.dtype.name} {list(variable.shape)}" for name, variable in variables.items()}
    there = {name: f"{array.dtype.name} {list(array.shape)}" for name, array in found.items()}
    for name in sorted(expected.keys() | there.keys()):
        if expected.get(name) != there.get(name):
            raise ValueError(f"{name} is {there.get(name, 'not there')}, not {expected.get(name, 'in this model')}")


def _tables(learner: Learner, reader: CheckpointReader) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {name: {} for name in learner.tables()}
    if tables:
        for name, array in safetensors.numpy.load(reader.read("tables.safetensors")).items():
            table, _, key = name.partition("/")
            if table not in tables:
                raise ValueError(f"tables.safetensors: there is no table {table!r} in this model")
            tables[table][key] = array
    return tables
