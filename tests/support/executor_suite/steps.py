"""What a step does, and leaves alone, whatever the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from penrose_host import ClusterSpec, DenseParameters, EncodedBatch, ExecutorContext, FeatureSpec, Role
from penrose_host.errors import ConfigError

MODELS = ("logistic", "fm", "deepfm", "dcn")


def each(cases: Sequence[tuple[str, int | None]]) -> pytest.MarkDecorator:
    """For `EachModel`: models, and how many rows their table has; None: they have a layer, by `embedding: none`."""
    ids = [f"{model}-{'table' if rows else 'layer'}" for model, rows in cases]
    return pytest.mark.parametrize(("model", "rows"), cases, ids=ids)


def relabelled(batch: EncodedBatch, **labels: np.ndarray) -> EncodedBatch:
    return EncodedBatch(batch.ids, dict(batch.lists), dict(batch.numeric), {**batch.labels, **labels})


class EachModel:
    """To be decorated by `each`."""

    def test_scores_of_training_are_those_that_predict_gave_before(
        self, lab: Any, model: str, rows: int | None
    ) -> None:
        executor = lab.executor(lab.rich, model=model, rows=rows)
        for number in range(4):
            batch = lab.batch(lab.rich, 20, seed=number)
            before = executor.predict(batch)
            result = executor.train(batch, lab.step(number))
            after = executor.predict(batch)
            for head in lab.rich.labels:
                assert before[head].dtype == np.float32
                assert before[head].shape == (20,)
                assert 0 < before[head].min() <= before[head].max() < 1
                np.testing.assert_allclose(result.scores[head], before[head], rtol=1e-6)
                assert np.abs(after[head] - before[head]).max() > 1e-4

    @pytest.mark.parametrize("count", [0, 1])
    def test_no_row_and_one_row_are_fine(self, lab: Any, model: str, rows: int | None, count: int) -> None:
        executor = lab.executor(lab.rich, model=model, rows=rows)
        batch = lab.batch(lab.rich, count, labelled=1.0)
        assert {head: scores.shape for head, scores in executor.predict(batch).items()} == {
            "click": (count,),
            "buy": (count,),
        }
        result = executor.train(batch, lab.step())
        assert result.applied
        assert {head: scores.shape for head, scores in result.scores.items()} == {"click": (count,), "buy": (count,)}
        assert all(loss > 0 for loss in result.losses.values()) is bool(count)

    def test_a_slice_is_scored_like_the_rows_it_holds(self, lab: Any, model: str, rows: int | None) -> None:
        executor = lab.executor(lab.rich, model=model, rows=rows)
        lab.train(executor, lab.rich, range(3))
        batch = lab.batch(lab.rich, 20, seed=7)
        whole = executor.predict(batch)
        for head, scores in executor.predict(batch.slice(5, 9)).items():
            np.testing.assert_allclose(scores, whole[head][5:9], rtol=1e-5)

    def test_a_row_without_a_label_is_never_trained(self, lab: Any, model: str, rows: int | None) -> None:
        executor = lab.executor(lab.rich, model=model, rows=rows)
        lab.train(executor, lab.rich, range(3))
        nothing = np.full(6, np.nan, np.float32)
        saved = lab.save(executor)
        result = executor.train(relabelled(lab.batch(lab.rich, 6), click=nothing, buy=nothing), lab.step())
        assert result.applied
        assert result.losses == {"click": 0.0, "buy": 0.0}
        assert lab.save(executor) == saved

    @pytest.mark.parametrize("reduction", ["sum", "mean"])
    def test_unlabelled_rows_among_others_do_not_count(
        self, lab: Any, model: str, rows: int | None, reduction: str
    ) -> None:
        features = FeatureSpec(categorical=("a", "b"), numeric=("x",), labels=("y",))
        options = {"model": model, "rows": rows, "reduction": reduction}
        left, right = lab.executor(features, **options), lab.executor(features, **options)
        for number in range(3):
            batch = lab.batch(features, 12, seed=number, labelled=1.0)
            label = batch.labels["y"].copy()
            label[8:] = np.nan
            some = left.train(relabelled(batch, y=label), lab.step(number))
            those = right.train(batch.slice(0, 8), lab.step(number))
            assert some.losses == pytest.approx(those.losses, rel=1e-5)
        test = lab.batch(features, 30, seed=9)
        np.testing.assert_allclose(left.predict(test)["y"], right.predict(test)["y"], rtol=1e-4)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_step_that_is_not_finite_changes_nothing(
        self, lab: Any, model: str, rows: int | None, value: float
    ) -> None:
        executor = lab.executor(lab.rich, model=model, rows=rows)
        lab.train(executor, lab.rich, range(3))
        saved = lab.save(executor)
        good = lab.batch(lab.rich, 8, labelled=1.0)
        price = good.numeric["price"].copy()
        price[3] = value
        bad = EncodedBatch(good.ids, dict(good.lists), {**good.numeric, "price": price}, dict(good.labels))
        result = executor.train(bad, lab.step())
        assert not result.applied
        assert not np.isfinite(sum(result.losses.values()))
        assert lab.save(executor) == saved
        assert executor.train(good, lab.step()).applied
        assert lab.save(executor) != saved

    def test_seeds_decide_where_a_model_starts(self, lab: Any, model: str, rows: int | None) -> None:
        first, again, other = (lab.executor(lab.rich, model=model, rows=rows, seed=seed) for seed in (1, 1, 2))
        for executor in (first, again, other):
            lab.train(executor, lab.rich, range(3))
        batch = lab.batch(lab.rich, 10)
        assert first.predict(batch)["click"].tobytes() == again.predict(batch)["click"].tobytes()
        if model != "logistic":
            assert first.predict(batch)["click"].tobytes() != other.predict(batch)["click"].tobytes()


class Steps:
    def embeddings(self, learner: Any, ids: np.ndarray) -> np.ndarray:
        """What a learner has for these ids: float32 [ids, width]."""
        raise NotImplementedError

    def weights_of_numbers(self, learner: Any) -> np.ndarray:
        """Of a logistic regression: float32 [numbers, heads]."""
        raise NotImplementedError

    @pytest.mark.parametrize("model", MODELS)
    def test_the_loss_is_the_mean_cross_entropy_of_labelled_rows_whatever_is_minimised(
        self, lab: Any, model: str
    ) -> None:
        for reduction in ("sum", "mean"):
            executor = lab.executor(lab.rich, model=model, reduction=reduction)
            lab.train(executor, lab.rich, range(3))
            batch = lab.batch(lab.rich, 40, seed=5)
            result = executor.train(batch, lab.step())
            for head, label in batch.labels.items():
                known = ~np.isnan(label)
                y, p = label[known].astype(np.float64), result.scores[head][known].astype(np.float64)
                each = -(y * np.log(p) + (1 - y) * np.log(1 - p))
                assert result.losses[head] == pytest.approx(each.mean(), rel=1e-4)

    @pytest.mark.parametrize("model", ["logistic", "fm"])
    def test_a_gradient_that_is_not_finite_changes_nothing(self, lab: Any, model: str) -> None:
        features = FeatureSpec(categorical=("a",), numeric=("x",), labels=("y",))
        executor = lab.executor(features, model=model)
        # Each row's loss is finite; the gradient of the weight of x is the sum of two of the largest numbers.
        x = np.full(3, 3e38, np.float32)
        batch = EncodedBatch(np.zeros((3, 1), np.int64), {}, {"x": x}, {"y": np.zeros(3, np.float32)})
        saved = lab.save(executor)
        assert not executor.train(batch, lab.step()).applied
        assert lab.save(executor) == saved

    @pytest.mark.parametrize("rows", [1000, None], ids=["table", "layer"])
    def test_lists_are_pooled_by_sum_or_mean(self, lab: Any, rows: int | None) -> None:
        executor = lab.executor(lab.rich, model="logistic", rows=rows, bias=False)
        lab.train(executor, lab.rich, range(5))
        batch = lab.batch(lab.rich, 10, seed=3)
        learner = executor._parts.learner

        def weight(ids: np.ndarray) -> np.ndarray:
            return self.embeddings(learner, ids)

        for row in range(10):
            logit = weight(batch.ids[row]).sum(axis=0)
            for feature in lab.rich.lists:
                ragged = batch.lists[feature.name]
                values = ragged.values[ragged.offsets[row] : ragged.offsets[row + 1]]
                if len(values):
                    logit = logit + weight(values).sum(axis=0) / (len(values) if feature.combiner == "mean" else 1)
            for place, name in enumerate(lab.rich.numeric):
                logit = logit + batch.numeric[name][row] * self.weights_of_numbers(learner)[place]
            for place, head in enumerate(lab.rich.labels):
                assert executor.predict(batch)[head][row] == pytest.approx(1 / (1 + np.exp(-logit[place])), rel=1e-5)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"optimizer": {"name": "magic"}}, "table 'embeddings': optimizer: 'magic' does not exist"),
            ({"optimizer": {"name": "magic"}, "rows": None}, "executor.optimizer: 'magic' does not exist"),
            ({"optimizer": {"name": "sgd", "epsilon": 1}, "rows": None}, "sgd has no parameter 'epsilon'"),
            ({"dense_optimizer": {"name": "lion"}}, "executor.dense_optimizer: 'lion' does not exist"),
            ({"dense_optimizer": {"name": "adam", "lr": 1}}, "adam has no parameter 'lr'"),
        ],
    )
    def test_what_cannot_be_is_a_fault_of_the_job(self, lab: Any, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            lab.executor(lab.rich, **options)

    def test_features_and_labels_are_needed(self, lab: Any) -> None:
        with pytest.raises(ConfigError, match="at least one label"):
            lab.executor(FeatureSpec(categorical=("a",)))
        with pytest.raises(ConfigError, match="at least one feature"):
            lab.executor(FeatureSpec(labels=("y",)))

    def test_parameter_servers_are_refused(self, lab: Any) -> None:
        class Parameters(DenseParameters):
            def pull(self) -> dict[str, np.ndarray]:
                return {}

            def push(self, gradients: Any, step: Any) -> None:
                raise AssertionError

        executor = lab.make()
        context = ExecutorContext(
            FeatureSpec(("a",), labels=("y",)), Role.CHIEF, 0, ClusterSpec.single(), parameters=Parameters()
        )
        with pytest.raises(ConfigError, match="parameter servers"):
            executor.setup(context)

    def test_closing_twice_and_without_setup_is_fine(self, lab: Any) -> None:
        executor = lab.executor(lab.plain)
        executor.close()
        executor.close()
        lab.make().close()
