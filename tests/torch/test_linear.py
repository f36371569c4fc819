"""The gradient that is written out against the one that PyTorch works out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from penrose_host import EncodedBatch, FeatureSpec
from penrose_torch.learner import Learner
from penrose_torch.linear import LinearLearner

NUMBERS = FeatureSpec(categorical=("user",), numeric=("price", "age"), labels=("click",))
ONLY_NUMBERS = FeatureSpec(numeric=("price",), labels=("click",))


def autograd(executor: Any) -> None:
    """Replace the written-out gradient by PyTorch's, over the same model, table and optimizer."""
    kept = executor._parts.learner
    assert type(kept) is LinearLearner
    reduction = "mean" if kept.mean else "sum"
    learner = Learner(kept.name, kept.layout, kept.model, kept.rows, kept.optimizer, reduction)
    executor._parts = replace(executor._parts, learner=learner)


@pytest.mark.parametrize("features", ["plain", "rich", NUMBERS, ONLY_NUMBERS], ids=["plain", "rich", "numbers", "only"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("bias", [True, False])
def test_steps_equal_those_of_autograd(lab: Any, features: Any, reduction: str, bias: bool) -> None:
    features = getattr(lab, features) if isinstance(features, str) else features
    options = {"reduction": reduction, "bias": bias, "dense_optimizer": {"name": "sgd", "learning_rate": 0.05}}
    written, worked_out = (lab.executor(features, model="logistic", **options) for _ in range(2))
    autograd(worked_out)
    for number in range(12):
        batch = lab.batch(features, number, seed=number)
        left, right = written.train(batch, lab.step(number)), worked_out.train(batch, lab.step(number))
        assert left.losses == pytest.approx(right.losses, rel=1e-4, abs=1e-6)
        for head in features.labels:
            assert left.scores[head].dtype == np.float32
            np.testing.assert_allclose(left.scores[head], right.scores[head], rtol=1e-4, atol=1e-6)
    batch = lab.batch(features, 50, seed=99)
    for head, scores in written.predict(batch).items():
        np.testing.assert_allclose(scores, worked_out.predict(batch)[head], rtol=1e-4, atol=1e-6)
        assert np.ptp(scores) > 0.01


def test_scores_of_extreme_logits_are_exact(lab: Any) -> None:
    executor = lab.executor(ONLY_NUMBERS, model="logistic", bias=False)
    executor._parts.learner.model.linear.weight.data.fill_(1.0)
    price = np.array([-80.0, -20.0, 0.0, 20.0, 80.0], np.float32)
    batch = EncodedBatch(np.empty((5, 0), np.int64), {}, {"price": price}, {"click": np.ones(5, np.float32)})
    expected = 1 / (1 + np.exp(-price.astype(np.float64)))
    np.testing.assert_allclose(executor.predict(batch)["click"], expected, rtol=1e-5)
    assert executor.train(batch, lab.step()).losses["click"] == pytest.approx((100 + np.log(2)) / 5, rel=1e-5)
