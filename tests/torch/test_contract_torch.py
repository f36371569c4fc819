"""penrose-torch keeps the promises of executors."""

from __future__ import annotations

from typing import Any, ClassVar

from penrose_host.contracts.embedding import EmbeddingBackend
from penrose_host.testing import ExecutorContract
from penrose_torch.executor import TorchExecutor


class TorchContract(ExecutorContract):
    options: ClassVar[dict[str, Any]] = {}

    def make(self) -> TorchExecutor:
        # Bytes are compared: a GPU may add up in another order each time.
        return TorchExecutor(TorchExecutor.Options(device="cpu", **self.options))


class TestLogistic(TorchContract):
    options: ClassVar[dict[str, Any]] = {"model": "logistic"}


class TestDeepFM(TorchContract):
    options: ClassVar[dict[str, Any]] = {"model": "deepfm", "hidden": [8]}


class TestDcnWithItsOwnEmbeddings(TorchContract):
    options: ClassVar[dict[str, Any]] = {"model": "dcn", "hidden": [8], "embedding_rows": 512}

    def backend(self) -> EmbeddingBackend | None:
        return None
