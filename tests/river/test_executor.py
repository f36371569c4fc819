from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from penrose_host import (
    ClusterSpec,
    DenseParameters,
    EncodedBatch,
    ExecutorContext,
    FeatureSpec,
    ListFeature,
    Ragged,
    Role,
)
from penrose_host.contracts.snapshots import FilesSnapshot
from penrose_host.errors import CheckpointDamaged, ConfigError, TrainingError
from penrose_host.testing import MemoryCheckpoints
from penrose_host.testing.batches import random_batch
from penrose_host.testing.executors.lab import Lab, written
from penrose_river.executor import RiverExecutor
from penrose_river.inputs import named, sparse
from penrose_river.serving import load

FEATURES = FeatureSpec(categorical=("user",), numeric=("price",), labels=("click",))
RECIPE = {"event_time": {"column": "ts"}, "numeric": [{"name": "price", "column": "price", "transform": "log1p"}]}
RICH = FeatureSpec(
    categorical=("user", "item"),
    lists=(ListFeature("tags"), ListFeature("history", combiner="sum")),
    numeric=("price",),
    labels=("click",),
)


def lab(features: FeatureSpec = FEATURES, **options: Any) -> Lab:
    return Lab(RiverExecutor(RiverExecutor.Options(**options)), features, None, seed=1)


def batch(labels: list[float], price: list[float] | None = None) -> EncodedBatch:
    numbers = np.array(price or [1.0] * len(labels), np.float32)
    ids = np.arange(len(labels)).reshape(-1, 1)
    return EncodedBatch(ids, {}, {"price": numbers}, {"click": np.array(labels, np.float32)})


def rich() -> EncodedBatch:
    return EncodedBatch(
        np.array([[1, 2], [3, 4], [5, 6]]),
        {
            "tags": Ragged(np.array([7, 8, 8, 9]), np.array([0, 3, 3, 4])),
            "history": Ragged(np.array([7, 7, 10]), np.array([0, 0, 2, 3])),
        },
        {"price": np.array([0.5, 1.5, 2.5], np.float32)},
        {"click": np.zeros(3, np.float32)},
    )


def test_sparse_rows_have_a_key_for_each_id() -> None:
    assert sparse(RICH)(rich()) == [
        {1: 1.0, 2: 1.0, 7: 1 / 3, 8: 2 / 3, "price": 0.5},
        {3: 1.0, 4: 1.0, 7: 2.0, "price": 1.5},
        {5: 1.0, 6: 1.0, 9: 1.0, 10: 1.0, "price": 2.5},
    ]


def test_named_rows_have_a_key_for_each_feature() -> None:
    assert named(RICH)(rich().slice(0, 2)) == [
        {"user": 1, "item": 2, "tags": [7, 8, 8], "history": [], "price": 0.5},
        {"user": 3, "item": 4, "tags": [], "history": [7, 7], "price": 1.5},
    ]


@pytest.mark.parametrize("rows", [sparse, named])
def test_a_slice_gives_the_rows_it_shows(rows: Any) -> None:
    assert rows(RICH)(rich().slice(1, 3)) == rows(RICH)(rich())[1:]
    assert rows(RICH)(rich().slice(1, 1)) == []


def test_logistic_learns_what_river_alone_learns_from_the_same_rows() -> None:
    from river import linear_model, optim

    river = linear_model.LogisticRegression(optim.AdaGrad(0.25, eps=20.0))
    rows = sparse(RICH)
    with lab(RICH) as ours:
        for seed in range(20):
            drawn = random_batch(RICH, 5, seed)
            ours.train(drawn)
            for row, label in zip(rows(drawn), drawn.labels["click"] == 1, strict=True):
                river.learn_one(row, bool(label))
        probe = random_batch(RICH, 30, 99)
        expected = [river.predict_proba_one(row)[True] for row in rows(probe)]
        np.testing.assert_allclose(ours.executor.predict(probe)["click"], expected, rtol=1e-6)


def test_each_label_has_a_model_of_its_own() -> None:
    features = FeatureSpec(categorical=("user",), labels=("click", "buy"))
    ids = np.zeros((8, 1), np.int64)
    labels = {"click": np.ones(8, np.float32), "buy": np.zeros(8, np.float32)}
    with lab(features) as both:
        for _ in range(20):
            both.train(EncodedBatch(ids, {}, {}, labels))
        scores = both.executor.predict(EncodedBatch(ids, {}, {}, labels))
    assert scores["click"].min() > 0.6
    assert scores["buy"].max() < 0.4


def test_a_model_that_has_seen_one_class_only_is_scored() -> None:
    with lab(model="hoeffding-tree") as tree:
        assert tree.executor.predict(batch([0.0]))["click"].tolist() == [0.5]
        tree.train(batch([0.0, 0.0]))
        assert tree.executor.predict(batch([0.0]))["click"].tolist() == [0.0]
        # Certain and wrong: the loss is large, and finite.
        assert tree.train(batch([1.0])).losses["click"] == pytest.approx(-np.log(1e-7), rel=1e-6)


def test_a_label_between_0_and_1_is_an_error_that_says_what_to_do() -> None:
    with lab() as ours, pytest.raises(TrainingError, match=r"step 1, head 'click': a label is 0\.25") as caught:
        ours.train(batch([1.0, 0.25]))
    assert "at_least" in str(caught.value)


@pytest.mark.parametrize("price", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("model", ["logistic", "hoeffding-tree"])
def test_a_number_that_is_not_finite_trains_nothing(model: str, price: float) -> None:
    with lab(model=model) as ours:
        ours.train(batch([0.0, 1.0]))
        before = ours.save()
        assert not ours.train(batch([0.0, 1.0], [1.0, price])).applied
        assert ours.save() == before
        # In a row without a label it does not matter.
        assert ours.train(batch([0.0, np.nan], [1.0, price])).applied


def test_what_river_raises_names_the_step() -> None:
    with lab(model="river_models:kept", model_options={"which": "naive_bayes.GaussianNB"}) as ours:
        ours.executor._parts.learner.models["click"].learn_one = None
        with pytest.raises(TrainingError, match="river_models:kept, head 'click', step 1: learn_one raised TypeError"):
            ours.train(batch([0.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model": "river_models:with_lambda"},
            r"click\.steps\['<lambda>'\]\.func is the function river_models",
        ),
        ({"model": "river_models:with_foreign_state"}, "the function copy.copy: .* and copy is none of them"),
        ({"model": "river_models:with_identities"}, "cannot be made again of what was kept of it"),
        ({"model": "river_models:regressor"}, "LinearRegression, which has no predict_proba_one"),
        ({"model": "river_models:nothing"}, "NoneType, which has no learn_one and no predict_proba_one"),
        ({"model": "river_models:failing"}, "LookupError"),
        ({"model": "river_models:shared"}, "returned the same model twice"),
        ({"model": "river_models:missing"}, "has no function 'missing'"),
        ({"model": "no_such_module:f"}, "there is no module 'no_such_module'"),
        ({"model_options": {"l3": 1}}, "unexpected keyword argument 'l3'"),
        ({"model": "hoeffding-tree", "model_options": {"grace_period": "long"}}, "was tried with 6 rows"),
        ({"optimizer": {"name": "sgd", "momentum": 1}}, "executor.optimizer: sgd: .*momentum"),
        ({"model": "river_models:lost"}, "its scores are not finite"),
    ],
)
def test_what_cannot_be_is_a_fault_of_the_job(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lab(FeatureSpec(("user",), (), ("price", "age", "hour"), ("click",)), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"model": "boosted"},
        {"model": "module:"},
        {"model": ":function"},
        {"model": "a b:c"},
        {"optimizer": {"name": "lion"}},
        {"optimizer": {"name": "sgd", "learning_rate": 0}},
        {"modules": ["os; import sys"]},
        {"layers": 3},
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RiverExecutor.Options(**options)


def test_features_and_labels_are_needed_and_trees_take_no_lists() -> None:
    with pytest.raises(ConfigError, match="at least one label"):
        lab(FeatureSpec(categorical=("a",)))
    with pytest.raises(ConfigError, match="at least one feature"):
        lab(FeatureSpec(labels=("y",)))
    with pytest.raises(ConfigError, match="hoeffding-tree takes one value of each feature"):
        lab(RICH, model="hoeffding-tree")


def test_parameter_servers_are_refused() -> None:
    class Parameters(DenseParameters):
        def pull(self) -> dict[str, np.ndarray]:
            return {}

        def push(self, gradients: Any, step: Any) -> None:
            raise AssertionError

    context = ExecutorContext(FEATURES, Role.CHIEF, 0, ClusterSpec.single(), parameters=Parameters())
    with pytest.raises(ConfigError, match="parameter servers"):
        RiverExecutor(RiverExecutor.Options()).setup(context)


def test_a_model_that_becomes_what_cannot_be_kept_stops_the_run_and_says_where() -> None:
    with lab() as ours:
        ours.executor._parts.learner.models["click"].initializer = open
        with pytest.raises(TrainingError, match=r"click\.initializer is the function io\.open"):
            ours.executor.snapshot()


def restored(saved: dict[str, bytes], **options: Any) -> None:
    checkpoints = MemoryCheckpoints()
    with lab(**options) as ours:
        ours.executor.restore(checkpoints.reader(checkpoints.write("c1", FilesSnapshot(saved))))


def test_a_checkpoint_of_another_model_release_or_label_is_refused_and_changes_nothing() -> None:
    with lab() as ours:
        ours.train(batch([0.0, 1.0]))
        saved = {name.removeprefix("executor/"): data for name, data in ours.save().items()}
    state = json.loads(saved["state.json"])

    def altered(**changes: Any) -> dict[str, bytes]:
        return {**saved, "state.json": json.dumps(state | changes).encode()}

    restored(saved)
    for wrong, message in [
        (altered(river="0.1"), "'river': '0.1'"),
        (altered(model="hoeffding-tree"), "'model': 'hoeffding-tree'"),
        (altered(format=2), "'format': 2"),
        (altered(models={}), "it holds {}"),
        (altered(models={"click": None}), "NoneType"),
        (altered(models={"click": [10_000]}), "IndexError"),
        (altered(nodes=[{"list": []}]), "list"),
        ({**saved, "state.json": b"[]"}, "not a mapping"),
        ({**saved, "state.json": b"\xff"}, "checkpoint c1, executor river"),
        ({**saved, "state.safetensors": b"short"}, "SafetensorError"),
    ]:
        with pytest.raises(CheckpointDamaged, match=message):
            restored(wrong)


def test_an_export_is_loaded_and_scores_like_the_executor(tmp_path: Path) -> None:
    options = {"model": "river_models:kept", "model_options": {"which": "compose.FuncTransformer"}}
    with lab(replace(FEATURES, recipe=RECIPE), **options) as ours:
        for seed in range(5):
            ours.train(random_batch(FEATURES, 20, seed))
        ours.executor.export(tmp_path)
        probe = random_batch(FEATURES, 10, 99)
        scores = ours.executor.predict(probe)["click"].tolist()
    described = json.loads((tmp_path / "features.json").read_text())
    assert described["features"]["numeric"] == ["price"]
    assert described["features"]["recipe"] == RECIPE
    assert described["inputs"] == "named"
    (model,) = load(tmp_path, modules=["river_models"]).values()
    found = [model.predict_proba_one(row)[True] for row in named(FEATURES)(probe)]
    assert found == pytest.approx(scores)
    with pytest.raises(ValueError, match=r"river_models.* is not of river"):
        load(tmp_path)


def test_a_snapshot_of_many_weights_holds_them_as_arrays() -> None:
    with lab(FeatureSpec(categorical=("user",), labels=("click",))) as ours:
        ids = np.arange(5000).reshape(-1, 1) - 2500
        ours.train(EncodedBatch(ids, {}, {}, {"click": (np.arange(5000) % 2).astype(np.float32)}))
        saved = written({"executor": ours.executor.snapshot()})
    assert len(saved["executor/state.json"]) < 5000
    assert 2 * 5000 * 16 < len(saved["executor/state.safetensors"]) < 2 * 5000 * 16 + 5000
