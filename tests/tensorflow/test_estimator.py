"""Estimator-style `model_fn`s: what TensorFlow 1 code does, and everything that can be wrong with it."""

from __future__ import annotations

from typing import Any, ClassVar

from penrose_host.interfaces import EmbeddingBackend
from penrose_host.testing import ExecutorContract
from penrose_tensorflow.executor import TensorflowExecutor


class ModelFnContract(ExecutorContract):
    options: ClassVar[dict[str, Any]] = {}

    def make(self) -> TensorflowExecutor:
        options = {"device": "cpu", "width": 4, "model_options": {"heads": ["click", "buy"]}}
        return TensorflowExecutor(TensorflowExecutor.Options(**options, **self.options))


class TestOverRowsOfTheHost(ModelFnContract):
    options: ClassVar[dict[str, Any]] = {"model_fn": "model_fns:random_towers"}


class TestOverIds(ModelFnContract):
    options: ClassVar[dict[str, Any]] = {"model_fn": "model_fns:with_ids"}

    def backend(self) -> EmbeddingBackend | None:
        return None
