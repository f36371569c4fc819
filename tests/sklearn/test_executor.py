from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from code_lines import lines_of_code
from pydantic import ValidationError

from penrose_host import EncodedBatch, FeatureSpec, ListFeature
from penrose_host.embeddings.mixing import buckets
from penrose_host.errors import CheckpointDamaged, ConfigError, TrainingError
from penrose_host.testing.batches import random_batch
from penrose_host.testing.executors.lab import Lab
from penrose_sklearn.executor import SklearnExecutor

FEATURES = FeatureSpec(categorical=("user", "item"), numeric=("price",), labels=("click",))
RECIPE = {"event_time": {"column": "ts"}, "numeric": [{"name": "price", "column": "price", "transform": "log1p"}]}


def lab(features: FeatureSpec = FEATURES, **options: Any) -> Lab:
    return Lab(SklearnExecutor(SklearnExecutor.Options(**{"columns": 100, **options})), features, None, seed=1)


def batch(labels: list[float], price: list[float] | None = None) -> EncodedBatch:
    numbers = np.array(price or [1.0] * len(labels), np.float32)
    ids = np.arange(2 * len(labels)).reshape(-1, 2)
    return EncodedBatch(ids, {}, {"price": numbers}, {"click": np.array(labels, np.float32)})


def test_a_row_has_its_ids_and_its_numbers() -> None:
    with lab() as ours:
        rows = ours.executor._rows(batch([0.0, 1.0], [0.5, -2.0])).toarray()
    expected = np.zeros((2, 101))
    for row, ids in enumerate([[0, 1], [2, 3]]):
        np.add.at(expected[row], buckets(np.array(ids), 100), 1)
    expected[:, 100] = 0.5, -2.0
    np.testing.assert_array_equal(rows, expected)


def test_it_learns_what_scikit_learn_alone_learns_from_the_same_rows() -> None:
    from scipy.sparse import csr_array
    from sklearn.linear_model import SGDClassifier

    alone = SGDClassifier(loss="log_loss", alpha=1e-6, learning_rate="constant", eta0=0.2, random_state=1)
    alone.partial_fit(csr_array((2, 101)), [0, 1], classes=[0, 1])
    with lab(params={"eta0": 0.2}) as ours:
        for seed in range(10):
            drawn = random_batch(FEATURES, 8, seed)
            ours.train(drawn)
            alone.partial_fit(csr_array(ours.executor._rows(drawn).toarray()), drawn.labels["click"])
        probe = random_batch(FEATURES, 30, 99)
        expected = alone.predict_proba(ours.executor._rows(probe).toarray())[:, 1]
        np.testing.assert_allclose(ours.executor.predict(probe)["click"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"params": {"loss": "hinge"}}, "sgd: .*predict_proba"),
        ({"params": {"depth": 3}}, "unexpected keyword argument 'depth'"),
        ({"params": {"eta0": "fast"}}, "eta0"),
        ({"params": {"average": True}}, "sklearn cannot keep `average`"),
        ({"estimator": "multinomial-nb", "params": {"alpha": -1}}, "alpha"),
        ({"features": FeatureSpec(categorical=("user",))}, "executor: sklearn needs at least one label$"),
        (
            {"features": FeatureSpec(("user",), (ListFeature("tags"),), (), ("click",))},
            "executor: sklearn takes no list features$",
        ),
    ],
)
def test_what_cannot_be_is_a_fault_of_the_job(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lab(**options)


@pytest.mark.parametrize("options", [{"estimator": "forest"}, {"columns": 0}, {"trees": 3}])
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SklearnExecutor.Options(**options)


@pytest.mark.parametrize("estimator", ["sgd", "multinomial-nb"])
def test_a_label_between_0_and_1_is_an_error_that_says_what_to_do(estimator: str) -> None:
    with lab(estimator=estimator) as ours:
        before = ours.save()
        with pytest.raises(TrainingError, match=r"step 1, head 'click': (.|\n)*at_least"):
            ours.train(batch([1.0, 0.25]))
        assert ours.save() == before


def test_a_number_that_naive_bayes_cannot_have_names_the_step() -> None:
    with lab(estimator="multinomial-nb") as ours, pytest.raises(TrainingError, match="step 1, head 'click': Negative"):
        ours.train(batch([1.0], [-1.0]))


def test_a_checkpoint_of_other_columns_or_labels_is_refused() -> None:
    with lab() as ours:
        saved = ours.save()
    for other in (
        lab(columns=99),
        lab(estimator="multinomial-nb"),
        lab(FeatureSpec(categorical=("user",), numeric=("price",), labels=("buy",))),
    ):
        with other, pytest.raises(CheckpointDamaged, match="is not of these estimators and columns"):
            other.load(saved)


def test_an_export_scores_with_numpy_alone(tmp_path: Path) -> None:
    with lab(replace(FEATURES, recipe=RECIPE)) as ours:
        for seed in range(5):
            ours.train(random_batch(FEATURES, 20, seed))
        ours.executor.export(tmp_path)
        probe = random_batch(FEATURES, 10, 99)
        scores = ours.executor.predict(probe)["click"]
    described = json.loads((tmp_path / "features.json").read_text())
    assert described["features"]["recipe"] == RECIPE
    learned = safetensors.numpy.load_file(tmp_path / "state.safetensors")
    weights = learned["click/coef_"][0]
    ids = buckets(probe.ids.reshape(-1), described["columns"]).reshape(probe.ids.shape)
    logits = weights[ids].sum(axis=1) + learned["click/intercept_"]
    for place, name in enumerate(described["features"]["numeric"], start=described["columns"]):
        logits += weights[place] * probe.numeric[name]
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), scores, rtol=1e-5)


def test_closing_twice_and_without_setup_is_fine() -> None:
    executor = SklearnExecutor(SklearnExecutor.Options())
    executor.close()
    executor.close()


def test_it_is_less_than_a_hundred_lines_of_code() -> None:
    assert lines_of_code(Path(sys.modules[SklearnExecutor.__module__].__file__ or "").read_text("utf-8")) < 100
