"""`loop: fit`: compiled Keras models under Keras's own loop, fed and acknowledged batch by batch."""

from __future__ import annotations

from typing import Any, ClassVar

from penrose_host.interfaces import EmbeddingBackend
from penrose_host.testing import ExecutorContract
from penrose_tensorflow.executor import TensorflowExecutor


class FitContract(ExecutorContract):
    options: ClassVar[dict[str, Any]] = {}

    def make(self) -> TensorflowExecutor:
        options = {"device": "cpu", "loop": "fit", "loop_timeout": 60, "width": 4}
        return TensorflowExecutor(TensorflowExecutor.Options(**options, **self.options))

    def backend(self) -> EmbeddingBackend | None:
        return None


class TestFit(FitContract):
    options: ClassVar[dict[str, Any]] = {"model": "keras_models:embeddings"}


class TestFitOfTheUsersThatPullsAhead(FitContract):
    options: ClassVar[dict[str, Any]] = {"model": "keras_models:moving", "loop": "keras_models:prefetching"}

    def make(self) -> TensorflowExecutor:
        return TensorflowExecutor(TensorflowExecutor.Options(device="cpu", loop_timeout=60, width=4, **self.options))
