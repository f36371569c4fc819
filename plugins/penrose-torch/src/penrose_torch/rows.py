"""Where the embeddings of a micro-batch come from, and where their gradients go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from penrose_host.embeddings import buckets

if TYPE_CHECKING:
    from penrose_host import EmbeddingTable, Int64, StepInfo

__all__ = ["LayerRows", "RowSource", "TableRows"]


class RowSource(ABC):
    """Embeddings by key. Between `read(train=True)` and `apply` there is one gradient on its way."""

    @abstractmethod
    def read(self, keys: Int64, *, train: bool) -> Tensor:
        """Embeddings float32 [n, width] of keys int64 [n]; with `train`, backward fills `gradient`."""

    @property
    @abstractmethod
    def gradient(self) -> Tensor | None:
        """The gradient's numbers, in any shape; None where the model used no embedding."""

    @abstractmethod
    def apply(self, step: StepInfo) -> None:
        """Give the gradient to the optimizer."""


class TableRows(RowSource):
    """Rows of an embedding table, which has its own optimizer. They come and go through main memory."""

    def __init__(self, table: EmbeddingTable, device: torch.device) -> None:
        self.table = table
        self._device = device
        self._keys: Int64
        self._rows: Tensor

    def read(self, keys: Int64, *, train: bool) -> Tensor:
        self._keys = keys
        self._rows = torch.from_numpy(self.table.lookup(keys, train=train)).to(self._device)
        return self._rows.requires_grad_() if train else self._rows

    @property
    def gradient(self) -> Tensor | None:
        return self._rows.grad

    def apply(self, step: StepInfo) -> None:
        if self._rows.grad is not None:
            self.table.apply(self._keys, self._rows.grad.cpu().numpy(), step)


class LayerRows(RowSource):
    """PyTorch's own embedding layer, of a fixed number of rows that keys are hashed into."""

    def __init__(self, layer: nn.Embedding, optimizer: torch.optim.Optimizer) -> None:
        self.layer = layer
        self.optimizer = optimizer

    def read(self, keys: Int64, *, train: bool) -> Tensor:
        if train:
            self.layer.weight.grad = None
        at = torch.from_numpy(buckets(keys, self.layer.num_embeddings)).to(self.layer.weight.device)
        embedded: Tensor = self.layer(at)
        return embedded

    @property
    def gradient(self) -> Tensor | None:
        gradient = self.layer.weight.grad
        if gradient is None:
            return None
        # Once for this and for the optimizer: repeated rows summed.
        gradient = self.layer.weight.grad = gradient.coalesce()
        return gradient.values()

    def apply(self, step: StepInfo) -> None:  # noqa: ARG002 - the layer is this process's own
        self.optimizer.step()
