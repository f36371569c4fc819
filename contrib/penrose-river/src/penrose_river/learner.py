"""Scores and steps: one River model for each label, trained row by row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from penrose_host import StepResult, TrainingError
from penrose_host.executors import log_loss
from penrose_river.inputs import named, sparse

if TYPE_CHECKING:
    from penrose_host import EncodedBatch, FeatureSpec, Float32, StepInfo
    from penrose_river.inputs import Row
    from penrose_river.names import Names

__all__ = ["Learner"]


class Learner:
    """`models`: label → a classifier of River. `name` is the option `model`, for messages and checkpoints."""

    def __init__(self, name: str, models: dict[str, Any], inputs: str, features: FeatureSpec, names: Names) -> None:
        self.name = name
        self.models = models
        self.inputs = inputs
        self.features = features
        self.names = names
        #: label → rows learned so far.
        self.learned = dict.fromkeys(models, 0)
        self._rows = sparse(features) if inputs == "sparse" else named(features)

    def predict(self, batch: EncodedBatch) -> Mapping[str, Float32]:
        """head → probabilities, float32 [rows]."""
        rows = self._rows(batch)
        return {head: self._scores(head, rows) for head in self.models}

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        """Score all rows, then learn those that have labels, one by one; nothing where a loss or number is not finite.

        Raises `TrainingError` for a label between 0 and 1, and where River raises.
        """
        rows = self._rows(batch)
        scores = {head: self._scores(head, rows) for head in self.models}
        labels = {head: batch.labels[head] for head in self.models}
        losses = {head: _loss(labels[head], scores[head], head, step) for head in self.models}
        known = np.any([~np.isnan(label) for label in labels.values()], axis=0)
        for name in self.features.numeric:
            if not np.isfinite(batch.numeric[name][known]).all():
                losses = dict.fromkeys(losses, math.nan)
        if not all(map(math.isfinite, losses.values())):
            return StepResult(losses, scores, applied=False)
        for head, label in labels.items():
            learned = np.flatnonzero(~np.isnan(label))
            self._learn(head, ((rows[place], label[place] == 1) for place in learned.tolist()), step)
        return StepResult(losses, scores)

    def _scores(self, head: str, rows: list[Row]) -> Float32:
        predict = self.models[head].predict_proba_one
        try:
            # A classifier that has seen no class, or not this one, leaves it out.
            answers = [predict(row) for row in rows]
            scores = np.array([answer.get(True, 0.0) if answer else 0.5 for answer in answers], dtype=np.float32)
        except Exception as error:
            raise TrainingError(f"{self.name}, head {head!r}: predict_proba_one raised {error!r}") from error
        if not self.learned[head]:
            # Some scalers divide by what they have not seen yet. Later, a score that is no number is an error.
            scores[~np.isfinite(scores)] = 0.5
        return scores

    def _learn(self, head: str, rows: Iterable[tuple[Row, Any]], step: StepInfo) -> None:
        learn = self.models[head].learn_one
        try:
            for row, label in rows:
                learn(row, bool(label))
                self.learned[head] += 1
        except Exception as error:
            raise TrainingError(
                f"{self.name}, head {head!r}, step {step.sequence}: learn_one raised {error!r}",
                hint="the step is half done: start again from the last checkpoint",
            ) from error


def _loss(label: Float32, scores: Float32, head: str, step: StepInfo) -> float:
    """The log loss of the labelled rows. Raises `TrainingError` for a label between 0 and 1."""
    between = ~(np.isnan(label) | np.isin(label, (0, 1)))
    if between.any():
        raise TrainingError(
            f"step {step.sequence}, head {head!r}: a label is {label[between][0]:g}, "
            "and River's classifiers learn 0 and 1",
            hint="give the label a threshold in the job: labels: [{name: …, column: …, at_least: 0.5}]",
        )
    return log_loss(label, scores)
