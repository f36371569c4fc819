"""Estimators of scikit-learn that learn with `partial_fit`, over ids hashed into the columns of a sparse matrix."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from penrose_host import Capability, CheckpointDamaged, ConfigError, Executor, FilesSnapshot, StepResult, TrainingError
from penrose_host.embeddings import buckets
from penrose_host.executors import log_loss

if TYPE_CHECKING:
    from penrose_host import CheckpointReader, EncodedBatch, ExecutorContext, StepInfo

SGD = {"loss": "log_loss", "alpha": 1e-6, "learning_rate": "constant", "eta0": 0.03}


class SklearnExecutor(Executor):
    """Trains an estimator of scikit-learn for each label."""

    api_version = 1
    capabilities = frozenset({Capability.SINGLE_WORKER})

    class Options(BaseModel):
        """Which estimator, and how wide a row is."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        estimator: Literal["sgd", "multinomial-nb"] = Field("sgd", description="which one")
        params: dict[str, Any] = Field({}, description=f"arguments of its class; those of sgd are added to {SGD}")
        columns: int = Field(2**16, ge=1, le=2**30, description="columns that ids share; a step of sgd touches all")

    def setup(self, context: ExecutorContext) -> None:
        from scipy.sparse import csr_array
        from sklearn.linear_model import SGDClassifier
        from sklearn.naive_bayes import MultinomialNB

        name, params, self.features = self.options.estimator, self.options.params, context.features
        refused = {"needs at least one label": not self.features.labels, "takes no list features": self.features.lists}
        refused |= {"cannot use parameter servers": context.parameters, "cannot keep `average`": params.get("average")}
        if faults := [("executor", f"sklearn {what}") for what, found in refused.items() if found]:
            raise ConfigError(faults)
        kind: Any = SGDClassifier if name == "sgd" else MultinomialNB
        if name == "sgd":
            params = {**SGD, "random_state": context.seed % 2**32, **params}
        self.width = self.options.columns + len(self.features.numeric)
        nothing = csr_array((2, self.width))
        try:
            self.models = {head: kind(**params) for head in self.features.labels}
            for model in self.models.values():
                # An empty row of each class: from then on it can score, and has all that a checkpoint keeps.
                model.partial_fit(nothing, [0, 1], classes=[0, 1]).predict_proba(nothing)
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError([("executor.params", f"{name}: {error}")]) from error

    def predict(self, batch: EncodedBatch) -> dict[str, np.ndarray]:
        if not len(batch):
            return {head: np.empty(0, np.float32) for head in self.models}
        rows = self._rows(batch)
        return {head: model.predict_proba(rows)[:, 1].astype(np.float32) for head, model in self.models.items()}

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        scores = self.predict(batch)
        if not all(np.isfinite(number).all() for number in batch.numeric.values()):
            return StepResult(dict.fromkeys(self.models, np.nan), scores, applied=False)
        rows = self._rows(batch)
        for head, model in self.models.items():
            if len(known := np.flatnonzero(~np.isnan(batch.labels[head]))):
                try:
                    model.partial_fit(rows[known], batch.labels[head][known])
                except ValueError as error:
                    hint = "labels are 0 or 1: give others a threshold with `at_least`"
                    raise TrainingError(f"step {step.sequence}, head {head!r}: {error}", hint=hint) from error
        return StepResult({head: log_loss(batch.labels[head], scores[head]) for head in self.models}, scores)

    def snapshot(self) -> FilesSnapshot:
        return FilesSnapshot({"state.safetensors": self._state()})

    def restore(self, reader: CheckpointReader) -> None:
        import safetensors.numpy

        found = safetensors.numpy.load(reader.read("state.safetensors"))
        own = safetensors.numpy.load(self._state())
        if {key: found[key].shape for key in found} != {key: own[key].shape for key in own}:
            raise CheckpointDamaged(f"checkpoint {reader.ref.checkpoint} is not of these estimators and columns")
        for key, array in found.items():
            head, _, name = key.rpartition("/")
            # In place: what has two names there keeps both.
            if array.ndim:
                getattr(self.models[head], name)[...] = array
            else:
                setattr(self.models[head], name, array.item())

    def export(self, directory: Path) -> None:
        """Write what the estimators have learned, and `features.json`, which says what the columns are."""
        (directory / "state.safetensors").write_bytes(self._state())
        described = {**self.options.model_dump(), "features": asdict(self.features)}
        (directory / "features.json").write_text(json.dumps(described, indent=2), "utf-8")

    def close(self) -> None:
        self.__dict__.pop("models", None)

    def _state(self) -> bytes:
        """Safetensors of `head/attribute`: what `partial_fit` changes, numbers as arrays without dimensions."""
        import safetensors.numpy

        learned = {
            f"{head}/{name}": np.array(value)
            for head, model in self.models.items()
            for name, value in vars(model).items()
            if name not in model.get_params() and isinstance(value, np.ndarray | np.number | float | int)
        }
        return safetensors.numpy.save(learned)

    def _rows(self, batch: EncodedBatch) -> Any:
        """CSR, float64 [rows, columns + numbers]: 1 in the column of each id, then the numbers."""
        from scipy.sparse import csr_array

        rows, ids = batch.ids.shape
        numbers = [np.nan_to_num(batch.numeric[name]) for name in self.features.numeric]
        values = np.column_stack([np.ones((rows, ids)), *numbers])
        own = np.broadcast_to(np.arange(self.options.columns, self.width), (rows, len(numbers)))
        columns = np.column_stack([buckets(batch.ids.reshape(-1), self.options.columns).reshape(rows, ids), own])
        starts = np.arange(rows + 1, dtype=np.int32) * values.shape[1]
        return csr_array((values.ravel(), columns.astype(np.int32).ravel(), starts), (rows, self.width))
