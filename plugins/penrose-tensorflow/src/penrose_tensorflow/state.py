"""The executor's part of a checkpoint: `state.safetensors`, and `state.json`, which says whose it is.

The tensors' names are PART/NAME, as `Learner.parts` names them: `model` (parameters, moving averages, the generators of
dropout), `optimizer`, and with `embedding: none` `layer` and `layer_optimizer`. Types that NumPy itself has not, as
bfloat16, lie there as uint8 [..., bytes of a number], and `bytes` in `state.json` says what they are. What
`Learner.tables` has lies in `tables.safetensors` as TABLE/NAME. Embedding tables of the host are not in it: the host
keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from penrose_host import CheckpointDamaged, Snapshot

if TYPE_CHECKING:
    from penrose_host import CheckpointReader, SnapshotWriter
    from penrose_tensorflow.learner import Learner

__all__ = ["restore", "snapshot"]

Array: TypeAlias = np.ndarray[Any, Any]
Arrays: TypeAlias = dict[str, Array]

#: What every version of safetensors gives back as NumPy's.
_PLAIN = {"bool", "float16", "float32", "float64"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


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
        "state.safetensors": {name: _stored(np.asarray(kept.numpy())) for name, kept in _variables(learner).items()}
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
        found = _loaded(reader, "state.safetensors")
        found |= {name: _numbers(found[name], variables[name]) for name in _as_bytes(variables) if name in found}
        _check(variables, found)
        tables = _tables(learner, reader)
        # The tables first: of what can go wrong there, that no memory is left, the variables know nothing.
        for table, stateful in learner.tables().items():
            stateful.load_state(tables[table])
    except (SafetensorError, ValueError) as error:
        raise CheckpointDamaged(
            f"checkpoint {reader.ref.checkpoint}, executor tensorflow: {error}",
            hint="resume with the job that wrote the checkpoint, or pick another with --resume-from",
        ) from error
    for name, variable in variables.items():
        variable.assign(found[name])


def _identity(learner: Learner) -> dict[str, Any]:
    as_bytes = _as_bytes(_variables(learner))
    told = {"bytes": as_bytes} if as_bytes else {}
    return {"format": 1, **learner.identity(), "tables": sorted(learner.tables()), **told}


def _as_bytes(variables: Mapping[str, Any]) -> dict[str, str]:
    """Name → type of those that lie in the file as bytes."""
    return {name: kept.dtype.name for name, kept in variables.items() if kept.dtype.name not in _PLAIN}


def _stored(array: Array) -> Array:
    if array.dtype.name in _PLAIN:
        return array
    return np.frombuffer(array.tobytes(), np.uint8).reshape(*array.shape, array.itemsize)


def _numbers(stored: Array, variable: Any) -> Array:
    """What `_stored` was given; as it is where that cannot be."""
    dtype: np.dtype[Any] = np.dtype(variable.dtype.as_numpy_dtype)
    if stored.dtype != np.uint8 or stored.shape[-1:] != (dtype.itemsize,):
        return stored
    return np.ascontiguousarray(stored).reshape(-1).view(dtype).reshape(stored.shape[:-1])


def _loaded(reader: CheckpointReader, file: str) -> Arrays:
    try:
        return dict(safetensors.numpy.load(reader.read(file)))
    except KeyError as error:
        raise ValueError(f"{file}: it has numbers of the type {error}, which this executor does not write") from error


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
        for name, array in _loaded(reader, "tables.safetensors").items():
            table, _, key = name.partition("/")
            if table not in tables:
                raise ValueError(f"tables.safetensors: there is no table {table!r} in this model")
            tables[table][key] = array
    for name, stateful in learner.tables().items():
        check = getattr(stateful, "check_state", None)
        if check is not None:
            check(tables[name])
    return tables
