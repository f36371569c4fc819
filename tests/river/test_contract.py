from __future__ import annotations

from typing import Any

from penrose_host import FeatureSpec
from penrose_host.contracts.embedding import EmbeddingBackend
from penrose_host.testing import ExecutorContract
from penrose_river.executor import RiverExecutor


def made(**options: Any) -> RiverExecutor:
    return RiverExecutor(RiverExecutor.Options(**options))


class TestLogistic(ExecutorContract):
    def make(self) -> RiverExecutor:
        return made()


class TestLogisticWithoutTables(ExecutorContract):
    def make(self) -> RiverExecutor:
        return made(optimizer={"name": "ftrl", "learning_rate": 0.1})

    def backend(self) -> EmbeddingBackend | None:
        return None


class TestHoeffdingTree(ExecutorContract):
    features = FeatureSpec(categorical=("user", "item"), numeric=("price",), labels=("click", "buy"))

    def make(self) -> RiverExecutor:
        return made(model="hoeffding-tree", model_options={"grace_period": 10, "delta": 0.1})


class TestOwnPipeline(ExecutorContract):
    features = FeatureSpec(categorical=("user", "item"), numeric=("price", "age", "hour"), labels=("click",))

    def make(self) -> RiverExecutor:
        return made(model="river_models:kept", model_options={"which": "compose.TransformerUnion"})
