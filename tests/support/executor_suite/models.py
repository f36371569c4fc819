"""The named models learn, and their options are checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from executor_suite.steps import MODELS
from penrose_host import EncodedBatch, FeatureSpec


class Models:
    @pytest.mark.parametrize("rows", [1000, None], ids=["table", "layer"])
    @pytest.mark.parametrize("model", MODELS)
    def test_each_model_learns(self, lab: Any, model: str, rows: int | None) -> None:
        features = FeatureSpec(categorical=("a", "b"), numeric=("x",), labels=("y", "z"))
        executor = lab.executor(
            features,
            rows=rows,
            model=model,
            hidden=[8],
            width=4,
            dense_optimizer={"name": "adam", "learning_rate": 0.01},
        )
        random = np.random.default_rng(0)
        losses = []
        for number in range(150):
            ids = random.integers(0, 10, (32, 2))
            x = random.standard_normal(32).astype(np.float32)
            labels = {"y": (ids[:, 0] < 5).astype(np.float32), "z": (x > 0).astype(np.float32)}
            result = executor.train(EncodedBatch(ids, {}, {"x": x}, labels), lab.step(number))
            losses.append([result.losses["y"], result.losses["z"]])
        first, last = np.array(losses[:10]).mean(axis=0), np.array(losses[-10:]).mean(axis=0)
        assert (last < 0.8 * first).all(), (first, last)

    @pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
    def test_a_table_and_a_layer_learn_the_same(self, lab: Any, optimizer: str) -> None:
        """Both start at zero and share rows by the same hash."""
        options = {"model": "logistic", "optimizer": {"name": optimizer, "learning_rate": 0.1}}
        table, layer = (lab.executor(lab.rich, rows=rows, **options) for rows in (1000, None))
        for executor in (table, layer):
            lab.train(executor, lab.rich, range(20))
        batch = lab.batch(lab.rich, 50, seed=99)
        for head, scores in table.predict(batch).items():
            np.testing.assert_allclose(scores, layer.predict(batch)[head], rtol=1e-3, atol=1e-5)
            assert np.ptp(scores) > 0.1

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"model": "resnet"}, "neither one of logistic, fm, deepfm, dcn nor module:function"),
            ({"model": "a b:c"}, "nor module:function"),
            ({"model": "os:"}, "nor module:function"),
            ({"hidden": [8, 0]}, "at least 1 unit"),
            ({"width": 0}, "greater than or equal to 1"),
            ({"reduction": "max"}, "'sum' or 'mean'"),
            ({"optimizer": {"name": "adagrad", "learning_rate": "fast"}}, "valid number"),
            ({"optimizer": {"learning_rate": 1}}, "Field required"),
            ({"learning_rate": 1}, "Extra inputs"),
        ],
    )
    def test_options_are_checked(self, lab: Any, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            lab.kind.Options(**options)

    def test_every_option_is_described(self, lab: Any) -> None:
        assert all(field.description for field in lab.kind.Options.model_fields.values())
