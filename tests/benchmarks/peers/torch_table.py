"""`torch.nn.Embedding(sparse=True)` with `torch.optim.Adagrad`."""

from __future__ import annotations

import numpy as np
import torch
from worker import LEARNING_RATE, THREADS, WIDTH, serve, unchanged


class TorchTable:
    """A static table; repeated ids are summed by the optimizer (`coalesce`)."""

    tensor = staticmethod(torch.from_numpy)

    def __init__(self, rows: int) -> None:
        torch.set_num_threads(THREADS)
        self._embedding = torch.nn.Embedding(rows, WIDTH, sparse=True)
        self._optimizer = torch.optim.Adagrad(self._embedding.parameters(), lr=LEARNING_RATE)

    def step(self, ids: torch.Tensor, gradients: torch.Tensor) -> None:
        """Forward, backward, optimizer step."""
        self._optimizer.zero_grad()
        self._embedding(ids).backward(gradients)
        self._optimizer.step()

    def rows(self, ids: torch.Tensor) -> np.ndarray:
        """[n, 16]."""
        return self._embedding.weight.detach()[ids].numpy()


if __name__ == "__main__":
    serve(TorchTable, unchanged)
