"""What a checkpoint and an export hold of the models: `state.json` and `state.safetensors`; see `encode`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.numpy
from safetensors import SafetensorError

from penrose_host import CheckpointDamaged, Snapshot, TrainingError
from penrose_river.decode import Decoder
from penrose_river.encode import CannotEncode, Encoder

if TYPE_CHECKING:
    from penrose_host import CheckpointReader, SnapshotWriter
    from penrose_river.learner import Learner
    from penrose_river.names import Names

__all__ = ["FILES", "copy_of", "decoded", "export", "restore", "snapshot"]

FILES = ("state.json", "state.safetensors")


class _State(Snapshot):
    """The models of this instant, by label."""

    def __init__(self, learner: Learner) -> None:
        encoder = Encoder(learner.names)
        self._described = {
            **_identity(learner.name),
            "learned": dict(learner.learned),
            "models": {head: encoder.encode(model, head) for head, model in learner.models.items()},
            "nodes": encoder.nodes,
        }
        self._arrays = encoder.arrays

    def files(self) -> dict[str, bytes]:
        described = json.dumps(self._described, allow_nan=False, separators=(",", ":")).encode()
        return dict(zip(FILES, (described, safetensors.numpy.save(self._arrays)), strict=True))

    def write(self, writer: SnapshotWriter) -> None:
        for name, data in self.files().items():
            writer.add(name, data)


def snapshot(learner: Learner) -> _State:
    """Everything that decides what the models do next. Raises `TrainingError` where that cannot be written down."""
    try:
        return _State(learner)
    except CannotEncode as error:
        raise TrainingError(
            f"executor river: the model cannot be kept in a checkpoint: {error}",
            hint="choose another model; the README of penrose-river says which can",
        ) from error


def restore(learner: Learner, reader: CheckpointReader) -> None:
    """Become what the snapshot held. Raises `CheckpointDamaged`, nothing changed, where it does not fit the models."""
    described, arrays = (reader.read(name) for name in FILES)
    try:
        models = decoded(described, arrays, learner.names, learner.name)
        learned = json.loads(described).get("learned")
        found = {head: type(model) for head, model in models.items()}
        expected = {head: type(model) for head, model in learner.models.items()}
        if found != expected:
            raise ValueError(f"state.json: it holds {found}, not {expected}")
        if not isinstance(learned, dict) or learned.keys() != models.keys():
            raise ValueError(f"state.json: it counts {learned}")
    except ValueError as error:
        raise CheckpointDamaged(
            f"checkpoint {reader.ref.checkpoint}, executor river: {error}",
            hint="resume with the job and the release of River that wrote it, or pick another with --resume-from",
        ) from error
    learner.models, learner.learned = models, learned


def decoded(described: bytes, arrays: bytes, names: Names, model: str | None = None) -> dict[str, Any]:
    """label → model, of the contents of the two files. Raises ValueError for what is no state, or none of `model`."""
    try:
        state = json.loads(described)
        if not isinstance(state, dict):
            raise ValueError(f"state.json: it holds a {type(state).__name__}, not a mapping")
        expected = _identity(state.get("model") if model is None else model)
        found = {key: state.get(key) for key in expected}
        if found != expected:
            raise ValueError(f"state.json: it was written by {found}, not by {expected}")
        decoder = Decoder(state["nodes"], safetensors.numpy.load(arrays), names)
        return {head: decoder.decode(value) for head, value in state["models"].items()}
    except (AttributeError, KeyError, SafetensorError) as error:
        raise ValueError(f"not the state of River's models: {error!r}") from error


def copy_of(learner: Learner) -> dict[str, Any]:
    """The models, written down and made again. Raises `CannotEncode`, or ValueError where they cannot be made again."""
    described, arrays = _State(learner).files().values()
    return decoded(described, arrays, learner.names, learner.name)


def export(learner: Learner, directory: Path) -> None:
    """Write the state, and `features.json`: what the models are and what a row for them looks like."""
    for name, data in snapshot(learner).files().items():
        (directory / name).write_bytes(data)
    described = {
        "format": 1,
        "model": learner.name,
        "inputs": learner.inputs,
        "features": dataclasses.asdict(learner.features),
    }
    (directory / "features.json").write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _identity(model: str | None) -> Mapping[str, Any]:
    # What River's classes hold changes from one minor release to the next.
    return {"format": 1, "river": ".".join(version("river").split(".")[:2]), "model": model}
