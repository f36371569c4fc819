"""FBGEMM's table-batched embeddings on the CPU, with exact Adagrad fused into the backward pass.

One table, float32, a bag of one id per row with sum pooling, no bounds check. 26 features over one table, or bounds
checks, differ by less than the noise; `PoolingMode.NONE` takes another path on the CPU, several times slower.
"""

from __future__ import annotations

import numpy as np
import torch
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from fbgemm_gpu.split_table_batched_embeddings_ops_common import BoundsCheckMode, EmbeddingLocation, PoolingMode
from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
    ComputeDevice,
    SplitTableBatchedEmbeddingBagsCodegen,
)
from worker import IDS_PER_STEP, LEARNING_RATE, THREADS, WIDTH, serve, unchanged


class FbgemmTable:
    """A static table."""

    tensor = staticmethod(torch.from_numpy)

    def __init__(self, rows: int) -> None:
        torch.set_num_threads(THREADS)
        self._table = SplitTableBatchedEmbeddingBagsCodegen(
            [(rows, WIDTH, EmbeddingLocation.HOST, ComputeDevice.CPU)],
            optimizer=EmbOptimType.EXACT_ADAGRAD,
            learning_rate=LEARNING_RATE,
            pooling_mode=PoolingMode.SUM,
            bounds_check_mode=BoundsCheckMode.NONE,
            stochastic_rounding=False,
        )
        self._table.init_embedding_weights_uniform(-0.01, 0.01)
        self._offsets = torch.arange(IDS_PER_STEP + 1)

    def step(self, ids: torch.Tensor, gradients: torch.Tensor) -> None:
        """Forward, then backward, which updates."""
        self._table(ids, self._offsets[: len(ids) + 1]).backward(gradients)

    def rows(self, ids: torch.Tensor) -> np.ndarray:
        """[n, 16]."""
        return self._table.split_embedding_weights()[0].detach()[ids].numpy()


if __name__ == "__main__":
    serve(FbgemmTable, unchanged)
