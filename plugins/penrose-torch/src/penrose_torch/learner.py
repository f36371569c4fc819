"""Scores and steps: forward, loss of each head, gradients, finite check, optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from penrose_host import StepResult
from penrose_host.executors import Inputs
from penrose_torch.custom import Custom
from penrose_torch.inputs import Layout
from penrose_torch.rows import RowSource

if TYPE_CHECKING:
    from penrose_host import EncodedBatch, Float32, StepInfo

__all__ = ["Learner"]


class Learner:
    """A model (called `name`), its embeddings and its optimizer. `reduction` of the loss over rows: sum or mean."""

    def __init__(
        self,
        name: str,
        layout: Layout,
        model: nn.Module,
        rows: RowSource,
        optimizer: torch.optim.Optimizer | None,
        reduction: str,
    ) -> None:
        self.name = name
        self.layout = layout
        self.model = model.eval()
        self.rows = rows
        self.optimizer = optimizer
        self.heads = layout.features.labels
        self.mean = reduction == "mean"
        self._parameters = list(model.parameters())
        # Only a module of the user's may act differently in training, or have buffers that training changes.
        self._custom = isinstance(model, Custom)
        self._buffers = list(model.buffers())

    def predict(self, batch: EncodedBatch) -> Mapping[str, Float32]:
        """head → probabilities, float32 [rows]."""
        if self._custom:
            self.model.eval()
        with torch.inference_mode():
            return self._scores(self._logits(self.layout.inputs(batch), train=False))

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        """One step on the rows that have labels; nothing changes where a loss or a gradient is not finite."""
        targets = self.layout.targets(batch)
        known = ~np.isnan(targets)
        counts = known.sum(axis=0)
        if not counts.any():
            return StepResult(dict.fromkeys(self.heads, 0.0), self.predict(batch))
        weights = known / np.maximum(counts, 1) if self.mean else known
        if self._custom:
            self.model.train()
        before = [buffer.clone() for buffer in self._buffers]
        for parameter in self._parameters:
            parameter.grad = None
        logits = self._logits(self.layout.inputs(batch), train=True)
        losses = binary_cross_entropy_with_logits(
            logits,
            self.layout.tensor(np.where(known, targets, np.float32(0))),
            self.layout.tensor(weights.astype(np.float32)),
            reduction="none",
        ).sum(0)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        means = losses.detach().cpu().numpy() / (1 if self.mean else np.maximum(counts, 1))
        result = StepResult(
            dict(zip(self.heads, means.tolist(), strict=True)), self._scores(logits.detach()), self._finite(losses)
        )
        if result.applied:
            self.rows.apply(step)
            if self.optimizer is not None:
                self.optimizer.step()
        else:
            for buffer, value in zip(self._buffers, before, strict=True):
                buffer.copy_(value)
        return result

    def _logits(self, inputs: Inputs, *, train: bool) -> Tensor:
        embedded = self.rows.read(inputs.keys, train=train)
        logits: Tensor = self.model(self.layout.pooled(embedded, inputs), self.layout.tensor(inputs.numeric))
        return logits

    def _finite(self, losses: Tensor) -> bool:
        gradients = [losses.detach(), self.rows.gradient, *(parameter.grad for parameter in self._parameters)]
        # One number that is finite only if all are.
        total = nn.utils.get_total_norm([gradient for gradient in gradients if gradient is not None])
        return bool(total.isfinite())

    def _scores(self, logits: Tensor) -> dict[str, Float32]:
        columns = logits.sigmoid().T.contiguous().cpu().numpy()
        return dict(zip(self.heads, columns, strict=True))
