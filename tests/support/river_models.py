"""Models of River as a user would write them, by the name they have in the README of penrose-river."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from river import (
    compose,
    drift,
    ensemble,
    facto,
    feature_extraction,
    feature_selection,
    forest,
    imblearn,
    linear_model,
    multiclass,
    naive_bayes,
    neighbors,
    optim,
    preprocessing,
    stats,
    tree,
    utils,
)

from penrose_host import EncodedBatch, FeatureSpec
from penrose_host.testing.batches import random_batch

NUMBERS = ("price", "age", "hour")
FEATURES = FeatureSpec(categorical=("user", "item"), numeric=NUMBERS, labels=("click",))
SPARSE = FeatureSpec(categorical=("user", "item"), labels=("click",))


def learnable(spec: FeatureSpec, rows: int, seed: int) -> EncodedBatch:
    """Random rows whose label follows from the first feature."""
    batch = random_batch(spec, rows, seed)
    positive = batch.numeric["price"] > 0 if spec.numeric else batch.ids[:, 0] > 0
    labels = {head: positive.astype(np.float32) for head in spec.labels}
    return EncodedBatch(batch.ids, dict(batch.lists), dict(batch.numeric), labels)


def logistic() -> Any:
    return linear_model.LogisticRegression()


def scaled(step: Any) -> Any:
    return compose.Select(*NUMBERS) | step | logistic()


def bracket(x: dict[str, Any]) -> dict[str, Any]:
    """A transformer of the user's own."""
    return {"dear": float(x["price"] > 0), "price": x["price"]}


class Calibrated(linear_model.LogisticRegression):
    """A model of the user's own, with state of its own."""

    def __init__(self) -> None:
        super().__init__(optimizer=optim.Adam(0.05))
        self.rows = 0
        self.mean = stats.Mean()

    def learn_one(self, x: Any, y: Any, w: float = 1.0) -> None:
        super().learn_one(x, y, w)
        self.rows += 1
        self.mean.update(float(y))

    def predict_proba_one(self, x: Any) -> dict[bool, float]:
        p = 0.9 * super().predict_proba_one(x)[True] + 0.1 * (self.mean.get() if self.rows else 0.5)
        return {False: 1 - p, True: p}


#: What the README lists: the name there → makes one.
KEPT = {
    "linear_model.LogisticRegression": lambda: linear_model.LogisticRegression(optim.AdaGrad(0.1), l2=0.01),
    "linear_model.LogisticRegression, l1": lambda: linear_model.LogisticRegression(l1=0.01),
    "linear_model.ALMAClassifier": linear_model.ALMAClassifier,
    "linear_model.AdPredictor": linear_model.AdPredictor,
    "linear_model.PAClassifier": linear_model.PAClassifier,
    "linear_model.Perceptron": linear_model.Perceptron,
    "linear_model.SoftmaxRegression": linear_model.SoftmaxRegression,
    "tree.HoeffdingTreeClassifier": lambda: tree.HoeffdingTreeClassifier(grace_period=20, delta=0.1),
    "tree.HoeffdingAdaptiveTreeClassifier": lambda: tree.HoeffdingAdaptiveTreeClassifier(grace_period=20, seed=1),
    "tree.ExtremelyFastDecisionTreeClassifier": lambda: tree.ExtremelyFastDecisionTreeClassifier(grace_period=20),
    "tree.LASTClassifier": tree.LASTClassifier,
    "tree.SGTClassifier": lambda: tree.SGTClassifier(grace_period=20, delta=0.5),
    "forest.ARFClassifier": lambda: forest.ARFClassifier(n_models=3, grace_period=20, seed=1),
    "forest.AMFClassifier": lambda: forest.AMFClassifier(n_estimators=3, seed=1),
    "ensemble.ADWINBaggingClassifier": lambda: ensemble.ADWINBaggingClassifier(logistic(), 3, seed=1),
    "ensemble.ADWINBoostingClassifier": lambda: ensemble.ADWINBoostingClassifier(logistic(), 3, seed=1),
    "ensemble.AdaBoostClassifier": lambda: ensemble.AdaBoostClassifier(logistic(), 3, seed=1),
    "ensemble.BaggingClassifier": lambda: ensemble.BaggingClassifier(logistic(), 3, seed=1),
    "ensemble.BOLEClassifier": lambda: ensemble.BOLEClassifier(logistic(), 3, seed=1),
    "ensemble.LeveragingBaggingClassifier": lambda: ensemble.LeveragingBaggingClassifier(logistic(), 3, seed=1),
    "ensemble.SRPClassifier": lambda: ensemble.SRPClassifier(n_models=3, seed=1),
    "ensemble.StackingClassifier": lambda: ensemble.StackingClassifier(
        [logistic(), naive_bayes.GaussianNB()], logistic()
    ),
    "naive_bayes.BernoulliNB": naive_bayes.BernoulliNB,
    "naive_bayes.GaussianNB": naive_bayes.GaussianNB,
    "facto.FMClassifier": lambda: facto.FMClassifier(n_factors=3, seed=1),
    "facto.HOFMClassifier": lambda: facto.HOFMClassifier(n_factors=3, seed=1),
    "neighbors.KNNClassifier": neighbors.KNNClassifier,
    "multiclass.OneVsRestClassifier": lambda: multiclass.OneVsRestClassifier(logistic()),
    "imblearn.HardSamplingClassifier": lambda: imblearn.HardSamplingClassifier(logistic(), size=10, p=0.2, seed=1),
    "imblearn.RandomUnderSampler": lambda: imblearn.RandomUnderSampler(
        logistic(), desired_dist={False: 0.5, True: 0.5}, seed=1
    ),
    "drift.DriftRetrainingClassifier": lambda: drift.DriftRetrainingClassifier(logistic(), drift.binary.DDM()),
    "preprocessing.StandardScaler": lambda: scaled(preprocessing.StandardScaler()),
    "preprocessing.StandardScaler, window_size": lambda: scaled(preprocessing.StandardScaler(window_size=9)),
    "preprocessing.AdaptiveStandardScaler": lambda: scaled(preprocessing.AdaptiveStandardScaler()),
    "preprocessing.MinMaxScaler": lambda: scaled(preprocessing.MinMaxScaler()),
    "preprocessing.MaxAbsScaler": lambda: scaled(preprocessing.MaxAbsScaler()),
    "preprocessing.RobustScaler": lambda: scaled(preprocessing.RobustScaler()),
    "preprocessing.Normalizer": lambda: scaled(preprocessing.Normalizer()),
    "preprocessing.OneHotEncoder": lambda: compose.Select("user", "item") | preprocessing.OneHotEncoder() | logistic(),
    "preprocessing.FeatureHasher": lambda: preprocessing.FeatureHasher(16, seed=1) | logistic(),
    "preprocessing.StatImputer": lambda: scaled(preprocessing.StatImputer(("price", stats.Mean()))),
    "feature_extraction.PolynomialExtender": lambda: scaled(feature_extraction.PolynomialExtender()),
    "feature_extraction.RBFSampler": lambda: scaled(feature_extraction.RBFSampler(seed=1)),
    "feature_extraction.TargetAgg": lambda: feature_extraction.TargetAgg(by="user", how=stats.Mean()) | logistic(),
    "feature_extraction.Agg": lambda: (
        feature_extraction.Agg(on="price", by="item", how=utils.Rolling(stats.Mean, 5)) | logistic()
    ),
    "feature_selection.VarianceThreshold": lambda: scaled(feature_selection.VarianceThreshold()),
    "compose.FuncTransformer": lambda: compose.FuncTransformer(bracket) | logistic(),
    "compose.TransformerUnion": lambda: (
        compose.Select(*NUMBERS)
        | (preprocessing.StandardScaler() + compose.FuncTransformer(bracket))
        | tree.HoeffdingTreeClassifier(grace_period=20)
    ),
    "a class of your own": Calibrated,
}


def kept(features: FeatureSpec, which: str) -> Any:
    """One of `KEPT`."""
    return KEPT[which]()


def with_lambda(features: FeatureSpec) -> Any:
    return compose.FuncTransformer(lambda x: {"price": x["price"]}) | logistic()


def with_foreign_state(features: FeatureSpec) -> Any:
    """Holds a function of a module that no state may name."""
    return compose.FuncTransformer(copy.copy) | logistic()


def with_identities(features: FeatureSpec) -> Any:
    """Keeps leaves by where they are in memory."""
    return compose.Select(*NUMBERS) | feature_extraction.RandomTreesEmbedding(seed=1) | logistic()


def regressor(features: FeatureSpec) -> Any:
    return linear_model.LinearRegression()


class Lost(linear_model.LogisticRegression):
    def predict_proba_one(self, x: Any) -> dict[bool, float]:
        return {False: float("nan"), True: float("nan")}


def lost(features: FeatureSpec) -> Any:
    return Lost()


def nothing(features: FeatureSpec) -> Any:
    return None


def failing(features: FeatureSpec) -> Any:
    raise LookupError("no such thing")


_shared = linear_model.LogisticRegression()


def shared(features: FeatureSpec) -> Any:
    return _shared
