from __future__ import annotations

from penrose_host import FeatureSpec
from penrose_host.testing import ExecutorContract
from penrose_sklearn.executor import SklearnExecutor

FEATURES = FeatureSpec(categorical=("user", "item"), numeric=("price", "age"), labels=("click", "buy"))


class TestSgd(ExecutorContract):
    features = FEATURES

    def make(self) -> SklearnExecutor:
        return SklearnExecutor(SklearnExecutor.Options(columns=512))


class TestSgdWithLearningRateOverTime(ExecutorContract):
    features = FEATURES

    def make(self) -> SklearnExecutor:
        params = {"learning_rate": "invscaling", "power_t": 0.25, "penalty": "elasticnet"}
        return SklearnExecutor(SklearnExecutor.Options(columns=512, params=params))


class TestNaiveBayes(ExecutorContract):
    features = FeatureSpec(categorical=("user", "item"), labels=("click", "buy"))

    def make(self) -> SklearnExecutor:
        return SklearnExecutor(SklearnExecutor.Options(estimator="multinomial-nb", columns=512))
