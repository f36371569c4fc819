"""Logistic regression over a table, with its gradient written out.

The gradient of the logit of a row is the same for each of its weights, so neither autograd nor a graph is
needed: in micro-batches of a few rows the step costs a fraction of the general one. The formulas, with the
logit x, the label y and the weight w of a label (0 where it is unknown)::

    score = sigmoid(x)    loss = w * (log(1 + exp(-x)) + (1 - y) * x)    gradient = w * (score - y)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from penrose_host import StepResult
from penrose_host.executors import Inputs
from penrose_torch.inputs import Layout
from penrose_torch.learner import Learner
from penrose_torch.models import Logistic
from penrose_torch.rows import TableRows

if TYPE_CHECKING:
    from penrose_host import EncodedBatch, Float32, StepInfo

__all__ = ["LinearLearner"]


class LinearLearner(Learner):
    """The same as a `Learner` with a `Logistic` on the CPU, in NumPy; only the dense optimizer is PyTorch's."""

    def __init__(
        self,
        name: str,
        layout: Layout,
        model: Logistic,
        rows: TableRows,
        optimizer: torch.optim.Optimizer | None,
        reduction: str,
    ) -> None:
        super().__init__(name, layout, model, rows, optimizer, reduction)
        self._table = rows.table
        # NumPy's view of each parameter and of its gradient: optimizers and `load_state_dict` write in place.
        self._bias, self._bias_gradient = _views(model.linear.bias)
        self._weight, self._weight_gradient = _views(model.linear.weight)

    def predict(self, batch: EncodedBatch) -> Mapping[str, Float32]:
        with np.errstate(all="ignore"):
            return self._by_head(np.exp(-_softplus(-self._linear(self.layout.inputs(batch), train=False))))

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        targets = self.layout.targets(batch)
        known = ~np.isnan(targets)
        complete = bool(known.all())
        if not known.any():
            return StepResult(dict.fromkeys(self.heads, 0.0), self.predict(batch))
        inputs = self.layout.inputs(batch)
        # What is not finite is found below, by the loss.
        with np.errstate(all="ignore"):
            logits = self._linear(inputs, train=True)
            negative = _softplus(-logits)
            scores = np.exp(-negative)
            losses = negative + (1 - targets) * logits
            gradient = scores - targets
            if not complete:
                losses, gradient = np.where(known, losses, 0), np.where(known, gradient, 0)
            counts = np.maximum(known.sum(axis=0, dtype=np.float32), 1)
            means = losses.sum(axis=0) / counts
            if self.mean:
                gradient = gradient / counts
            applied = math.isfinite(means.sum())
            if self._weight_gradient is not None:
                np.matmul(inputs.numeric.T, gradient, out=self._weight_gradient)
                applied = applied and bool(np.isfinite(self._weight_gradient).all())
            if self._bias_gradient is not None:
                gradient.sum(axis=0, out=self._bias_gradient)
        if applied:
            self._table.apply(inputs.keys, self._spread(gradient, inputs), step)
            if self.optimizer is not None:
                self.optimizer.step()
        return StepResult(dict(zip(self.heads, means.tolist(), strict=True)), self._by_head(scores), applied)

    def _linear(self, inputs: Inputs, *, train: bool) -> Float32:
        """Logits, float32 [rows, heads]."""
        heads, single = len(self.heads), inputs.rows * self.layout.categorical
        embedded = self._table.lookup(inputs.keys, train=train)
        logits: Float32 = embedded[:single].reshape(inputs.rows, self.layout.categorical, heads).sum(axis=1)
        if inputs.pooling is not None:
            # (PyTorch does this several times faster than NumPy.)
            values = torch.from_numpy(embedded[single:] * inputs.pooling.scale)
            torch.from_numpy(logits).index_add_(0, torch.from_numpy(inputs.pooling.row), values)
        if self._weight is not None:
            logits += inputs.numeric @ self._weight
        if self._bias is not None:
            logits += self._bias
        return logits

    def _spread(self, gradient: Float32, inputs: Inputs) -> Float32:
        """The gradient of each key's weights: [rows, heads] → [n, heads]."""
        single = gradient.repeat(self.layout.categorical, axis=0)
        if inputs.pooling is None:
            return single
        return np.concatenate([single, gradient[inputs.pooling.row] * inputs.pooling.scale])

    def _by_head(self, scores: Float32) -> dict[str, Float32]:
        return dict(zip(self.heads, scores.T.copy(), strict=True))


def _softplus(x: Float32) -> Float32:
    """log(1 + exp(x)), exact and finite for every finite x."""
    return np.logaddexp(np.float32(0), x)


def _views(parameter: torch.nn.Parameter | None) -> tuple[Float32 | None, Float32 | None]:
    if parameter is None:
        return None, None
    parameter.grad = torch.zeros_like(parameter)
    return parameter.detach().numpy(), parameter.grad.numpy()
