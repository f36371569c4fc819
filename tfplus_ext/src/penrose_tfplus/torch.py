"""Modules for PyTorch over a `Table`: forward looks rows up, backward collects gradients, `step` applies them.

A module holds no parameters of PyTorch's: the table is trained by its own optimizer, and is not in `state_dict`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from penrose_tfplus.table import Table

__all__ = ["Embedding", "EmbeddingBag"]


class Embedding(nn.Module):
    """Rows of a table: int64 keys of any shape → float32 [..., width].

    In training mode keys that are unseen may become rows, and gradients wait for `step`; in evaluation nothing
    changes. Tensors of other devices go through main memory.
    """

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.table = table
        self._waiting: list[tuple[Tensor, Tensor]] = []

    def forward(self, keys: Tensor) -> Tensor:
        flat = keys.detach().reshape(-1).cpu()
        train = self.training and torch.is_grad_enabled()
        rows = torch.from_numpy(self.table.lookup(flat.numpy(), train=train))
        if train:
            rows.requires_grad_()
            self._waiting.append((flat, rows))
        return rows.to(keys.device).reshape(*keys.shape, self.table.width)

    @property
    def gradients(self) -> list[Tensor]:
        """What backward collected, float32 [n, width] a forward pass: look here whether all is finite."""
        return [rows.grad for _, rows in self._waiting if rows.grad is not None]

    def step(self, *, time: int = 0, learning_rate: float | None = None) -> None:
        """One step of the table's optimizer over all forward passes since the last; then nothing waits.

        `time`: event time of the rows, microseconds since 1970. Raises `BadGradient`, the table unchanged.
        """
        waiting = [(keys.numpy(), rows.grad.numpy()) for keys, rows in self._waiting if rows.grad is not None]
        self._waiting.clear()
        if len(waiting) == 1:
            keys, gradients = waiting[0]
        elif waiting:
            keys, gradients = (np.concatenate(each) for each in zip(*waiting, strict=True))
        else:
            return
        self.table.apply(keys, gradients, time=time, learning_rate=learning_rate)

    def discard(self) -> None:
        """Forget the gradients that wait."""
        self._waiting.clear()

    def extra_repr(self) -> str:
        return f"width={self.table.width}, optimizer={self.table.optimizer}"


class EmbeddingBag(Embedding):
    """Rows of a table, reduced by bag: float32 [bags, width]. An empty bag is zeros.

    Takes keys [bags, n], one bag a row; keys [n] with `offsets` [bags], where each bag starts; or a nested tensor.
    `weights`, of the keys' shape, multiply the rows (mode sum only).
    """

    def __init__(self, table: Table, mode: Literal["sum", "mean"] = "sum") -> None:
        super().__init__(table)
        if mode not in ("sum", "mean"):
            raise ValueError(f"mode must be sum or mean, not {mode!r}")
        self.mode = mode

    def forward(self, keys: Tensor, offsets: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        if keys.is_nested:
            if offsets is not None:
                raise ValueError("nested keys have their own offsets")
            bags = keys.unbind()
            offsets = torch.tensor([0, *(len(bag) for bag in bags[:-1])]).cumsum(0)
            keys = torch.cat(bags)
            weights = torch.cat(weights.unbind()) if weights is not None and weights.is_nested else weights
        elif keys.dim() == 2:
            if offsets is not None:
                raise ValueError("keys [bags, n] have no offsets")
            offsets = torch.arange(0, keys.numel(), keys.shape[1], device=keys.device) if keys.shape[1] else None
            if offsets is None:
                return torch.zeros(keys.shape[0], self.table.width, device=keys.device)
            keys, weights = keys.reshape(-1), None if weights is None else weights.reshape(-1)
        elif keys.dim() != 1 or offsets is None:
            raise ValueError(f"keys must be [bags, n], or [n] with offsets, not {list(keys.shape)}")
        rows = super().forward(keys)
        if not len(rows):
            return torch.zeros(len(offsets), self.table.width, device=rows.device)
        places = torch.arange(len(rows), device=rows.device)
        return nn.functional.embedding_bag(
            places, rows, offsets.to(rows.device), mode=self.mode, per_sample_weights=weights
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode}"
