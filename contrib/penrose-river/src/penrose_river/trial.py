"""Tries a model with a few made-up rows, so that what cannot be is found at setup and not after an hour."""

from __future__ import annotations

import numpy as np

from penrose_host import ConfigError, EncodedBatch, Position, Ragged, StepInfo, TrainingError
from penrose_river.encode import CannotEncode
from penrose_river.learner import Learner
from penrose_river.state import copy_of

__all__ = ["model_fault", "try_out"]


def try_out(learner: Learner) -> None:
    """Score and learn some rows, write the models down and make them again. Raises `ConfigError`."""
    for model in learner.models.values():
        if missing := [name for name in ("learn_one", "predict_proba_one") if not callable(getattr(model, name, None))]:
            raise model_fault(f"{learner.name} gives a {type(model).__name__}, which has no {' and no '.join(missing)}")
    features, rows = learner.features, 6
    batch = EncodedBatch(
        np.arange(rows * len(features.categorical)).reshape(rows, len(features.categorical)),
        {feature.name: Ragged(np.arange(rows), np.arange(rows + 1)) for feature in features.lists},
        {name: np.linspace(1, 2, rows, dtype=np.float32) for name in features.numeric},
        {head: (np.arange(rows) % 2).astype(np.float32) for head in features.labels},
    )
    try:
        learner.predict(batch)
        learner.train(batch, StepInfo(0, 0, 0, lambda: Position("")))
        expected = learner.predict(batch)
    except TrainingError as error:
        raise model_fault(f"{learner.name} was tried with {rows} rows: {error}") from error
    if not all(np.isfinite(scores).all() for scores in expected.values()):
        raise model_fault(f"{learner.name} was tried with {rows} rows: its scores are not finite")
    try:
        learner.models = copy_of(learner)
        found = learner.predict(batch)
    except CannotEncode as error:
        raise model_fault(
            f"{learner.name} cannot be kept in a checkpoint: {error}",
            "the README of penrose-river says which models can; modules of your own are named with executor.modules",
        ) from error
    except (TrainingError, ValueError) as error:
        raise model_fault(f"{learner.name} cannot be made again of what was kept of it: {error}") from error
    if any(expected[head].tobytes() != found[head].tobytes() for head in expected):
        raise model_fault(f"{learner.name} scores otherwise once it is made again of what was kept of it")


def model_fault(fault: str, hint: str | None = None) -> ConfigError:
    return ConfigError([("executor.model", fault)], hint=hint)
