"""From NumPy to the tensors that models take."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from penrose_host import FeatureSpec, executors
from penrose_host.executors import Inputs

__all__ = ["Layout"]


class Layout(executors.Layout):
    """What the columns of a batch are, and on which device the model takes them."""

    def __init__(self, features: FeatureSpec, device: torch.device) -> None:
        super().__init__(features)
        self.device = device

    def pooled(self, embedded: Tensor, inputs: Inputs) -> Tensor:
        """Embeddings [n, width] of the keys → slots [rows, slots, width]."""
        width, single = embedded.shape[1], inputs.rows * self.categorical
        slots = embedded[:single].reshape(inputs.rows, self.categorical, width)
        if inputs.pooling is None:
            return slots
        at = self.tensor(inputs.pooling.row * self.lists + inputs.pooling.place)
        sums = embedded.new_zeros(inputs.rows * self.lists, width)
        sums = sums.index_add(0, at, embedded[single:] * self.tensor(inputs.pooling.scale))
        return torch.cat([slots, sums.reshape(inputs.rows, self.lists, width)], 1)

    def tensor(self, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Tensor:
        return torch.from_numpy(array).to(self.device)
