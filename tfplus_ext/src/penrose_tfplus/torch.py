"""Modules for PyTorch over a `Table`: forward looks rows up, backward collects gradients, `step` applies them.

A module holds no parameters of PyTorch's: the table is trained by its own optimizer, and is not in `state_dict`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from penrose_tfplus.table import Table

if TYPE_CHECKING:
    from penrose_tfplus._native import Float32

__all__ = ["Embedding", "EmbeddingBag"]


class _Forward:
    """The keys of one forward pass, int64 [n], and the gradients of their rows once backward came by."""

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys
        self.gradients: Tensor | None = None

    def add(self, gradients: Tensor) -> None:
        known = self.gradients
        self.gradients = gradients.detach().contiguous() if known is None else known + gradients.detach()


class _Rows(torch.autograd.Function):
    """Rows as the result of a function, not a leaf: models may change them in place, as they may PyTorch's own."""

    @staticmethod
    def forward(ctx: Any, _anchor: Tensor, rows: Float32, collected: _Forward) -> Tensor:
        ctx.collected = collected
        return torch.from_numpy(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None]:
        ctx.collected.add(gradients[0])
        return None, None, None


class Embedding(nn.Module):
    """Rows of a table: int64 keys of any shape → float32 [..., width].

    In training mode keys that are unseen may become rows, and gradients wait for `step`; in evaluation nothing
    changes. Tensors of other devices go through main memory.
    """

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.table = table
        self._waiting: list[_Forward] = []

    def forward(self, keys: Tensor) -> Tensor:
        flat = keys.detach().reshape(-1).cpu()
        train = self.training and torch.is_grad_enabled()
        found = self.table.lookup(flat.numpy(), train=train)
        if train:
            # A copy of the keys: the caller's may be those of the next batch before `step`.
            self._waiting.append(_Forward(flat.clone()))
            anchor = torch.empty(0, requires_grad=True)
            rows: Tensor = _Rows.apply(anchor, found, self._waiting[-1])  # type: ignore[no-untyped-call]
        else:
            rows = torch.from_numpy(found)
        return rows.to(keys.device).reshape(*keys.shape, self.table.width)

    @property
    def gradients(self) -> list[Tensor]:
        """What backward collected, float32 [n, width] a forward pass: look here whether all is finite."""
        return [each.gradients for each in self._waiting if each.gradients is not None]

    def step(self, *, time: int = 0, learning_rate: float | None = None) -> None:
        """One step of the table's optimizer over all forward passes since the last; then nothing waits.

        `time`: event time of the rows, microseconds since 1970. Raises `BadGradient`, the table unchanged.
        """
        waiting = [(each.keys.numpy(), each.gradients.numpy()) for each in self._waiting if each.gradients is not None]
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
        keys, offsets, weights = self._flat(keys, offsets, weights)
        if not len(keys):
            return torch.zeros(len(offsets), self.table.width, device=keys.device)
        rows = super().forward(keys)
        places = torch.arange(len(rows), device=rows.device)
        return nn.functional.embedding_bag(
            places, rows, offsets.to(rows.device), mode=self.mode, per_sample_weights=weights
        )

    def _flat(
        self, keys: Tensor, offsets: Tensor | None, weights: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys [n], offsets [bags] and weights [n] of what was given. Raises ValueError where it does not fit."""
        if weights is not None and self.mode != "sum":
            raise ValueError("weights are for mode sum")
        if keys.dim() != 1 and offsets is not None:
            raise ValueError("nested keys and keys [bags, n] have no offsets")
        if keys.is_nested:
            bags = keys.unbind()
            lengths = torch.tensor([len(bag) for bag in bags], dtype=torch.int64)
            offsets = lengths.cumsum(0) - lengths
            weights = torch.cat(weights.unbind()) if weights is not None and weights.is_nested else weights
            keys = torch.cat(bags) if bags else torch.empty(0, dtype=torch.int64)
        elif weights is not None and weights.shape != keys.shape:
            raise ValueError(f"weights must have the shape of the keys, {list(keys.shape)}, not {list(weights.shape)}")
        elif keys.dim() == 2:
            offsets = torch.arange(keys.shape[0], device=keys.device) * keys.shape[1]
            keys, weights = keys.reshape(-1), None if weights is None else weights.reshape(-1)
        elif keys.dim() != 1 or offsets is None:
            raise ValueError(f"keys must be [bags, n], or [n] with offsets, not {list(keys.shape)}")
        elif offsets.dim() != 1 or offsets.dtype != torch.int64:
            raise ValueError(f"offsets must be int64 [bags], not {offsets.dtype} {list(offsets.shape)}")
        elif len(offsets) and (offsets[0] != 0 or offsets[-1] > len(keys) or (offsets.diff() < 0).any()):
            raise ValueError(f"offsets must start at 0 and rise to at most {len(keys)}, the number of keys")
        elif len(keys) and not len(offsets):
            raise ValueError("offsets must have at least one bag for the keys")
        return keys, offsets, weights

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode}"
