"""The same job with another `executor.name`: penrose-torch is the reference."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

from penrose_host import ClusterSpec, EncodedBatch, ExecutorContext, FeatureSpec, Role, TableFactory
from penrose_host.embeddings.hashing import HashingBackend
from penrose_host.executors.options import ModelOptions, OptimizerOptions
from penrose_tensorflow.executor import TensorflowExecutor
from penrose_tensorflow.host_loop import dense_optimizers, models, sparse_optimizers
from penrose_torch import models as torch_models, optimizers as torch_optimizers
from penrose_torch.executor import TorchExecutor

RANDOM = np.random.default_rng(0)


def options(name: str, **parameters: float) -> OptimizerOptions:
    return OptimizerOptions.model_validate({"name": name, **parameters})


def test_all_options_of_torch_are_there_with_the_same_meaning() -> None:
    ours, theirs = TensorflowExecutor.Options.model_fields, TorchExecutor.Options.model_fields
    assert ours.keys() >= theirs.keys()
    for name in ModelOptions.model_fields:
        assert (ours[name].annotation, ours[name].description) == (theirs[name].annotation, theirs[name].description)
        assert ours[name].default == theirs[name].default
    assert ours["threads"].default == theirs["threads"].default


MODELS: list[tuple[str, dict[str, Any]]] = [
    ("Logistic", {"bias": True}),
    ("FM", {"bias": True, "factors": 3}),
    ("DeepFM", {"slots": 4, "bias": True, "factors": 3, "hidden": [5, 6]}),
    ("DCN", {"slots": 4, "width": 3, "cross_layers": 2, "hidden": [5]}),
    ("DCN", {"slots": 4, "width": 3, "cross_layers": 1, "hidden": []}),
]


@pytest.mark.parametrize(("name", "arguments"), MODELS, ids=[name for name, _ in MODELS])
def test_models_with_the_same_parameters_give_the_same_logits(name: str, arguments: dict[str, Any]) -> None:
    ours = getattr(models, name)(numbers=2, heads=2, **arguments)
    theirs = getattr(torch_models, name)(numbers=2, heads=2, **arguments)
    assert ours.width == theirs.width
    # Both hold each layer's bias and weight in turn, in one order or the other; their layers come in the same order.
    given = {tuple(p.shape): [] for p in theirs.parameters()}
    for parameter in theirs.parameters():
        given[tuple(parameter.shape)].append(parameter)
    for variable in ours.variables:
        dense = variable.name == "kernel"
        value = RANDOM.standard_normal(variable.shape).astype(np.float32)
        variable.assign(value)
        with torch.no_grad():
            shape = tuple(reversed(variable.shape)) if dense else tuple(variable.shape)
            given[shape].pop(0).copy_(torch.from_numpy(value.T if dense else value))
    assert not any(given.values())
    slots = RANDOM.standard_normal((7, 4, ours.width)).astype(np.float32)
    numeric = RANDOM.standard_normal((7, 2)).astype(np.float32)
    expected = theirs(torch.from_numpy(slots), torch.from_numpy(numeric)).detach().numpy()
    np.testing.assert_allclose(ours(tf.constant(slots), tf.constant(numeric)), expected, rtol=1e-4, atol=1e-4)


def test_first_values_of_layers_are_drawn_as_pytorch_draws_them() -> None:
    keras.utils.set_random_seed(0)
    ours = models.DCN(slots=4, numbers=2, heads=1, width=10, cross_layers=1, hidden=[2000])
    theirs = torch.nn.Linear(42, 2000)
    hidden = ours.deep[0]
    for value, reference in ((hidden.kernel, theirs.weight), (hidden.bias, theirs.bias)):
        value, reference = value.numpy(), reference.detach().numpy()
        assert np.abs(value).max() == pytest.approx(np.abs(reference).max(), rel=0.01)
        assert value.std() == pytest.approx(reference.std(), rel=0.05)
        assert abs(value.mean()) < 0.01


DENSE = [
    options("sgd", learning_rate=0.1),
    options("sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.01),
    options("adagrad", learning_rate=0.1, initial_accumulator=0.1),
    options("adagrad", learning_rate=0.1, weight_decay=0.05),
    options("adam"),
    options("adam", learning_rate=0.01, beta1=0.5, beta2=0.9, weight_decay=0.1),
    options("adamw", learning_rate=0.01),
]


@pytest.mark.parametrize("given", DENSE, ids=lambda given: "-".join([given.name, *given.parameters]))
def test_dense_optimizers_step_as_those_of_torch(given: OptimizerOptions) -> None:
    start = RANDOM.standard_normal((3, 4)).astype(np.float32)
    ours, theirs = keras.Variable(start), torch.from_numpy(start.copy())
    mine = dense_optimizers.dense_optimizer(given, [ours])
    reference = torch_optimizers.dense_optimizer(given, [theirs], torch.device("cpu"))
    assert mine is not None
    assert reference is not None
    for _ in range(20):
        gradient = RANDOM.standard_normal((3, 4)).astype(np.float32)
        mine.apply([tf.constant(gradient)], [ours])
        theirs.grad = torch.from_numpy(gradient)
        reference.step()
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-5)
    assert np.abs(ours.numpy() - start).max() > 1e-3


@pytest.mark.parametrize(
    "given",
    [
        options("sgd", learning_rate=0.1),
        options("adagrad", learning_rate=0.1, initial_accumulator=0.2),
        options("adam"),
    ],
    ids=lambda given: given.name,
)
def test_sparse_optimizers_step_as_those_of_torch(given: OptimizerOptions) -> None:
    torch.sparse.check_sparse_tensor_invariants.disable()
    start = RANDOM.standard_normal((10, 4)).astype(np.float32)
    weight, layer = tf.Variable(start), torch.nn.Embedding.from_pretrained(torch.from_numpy(start.copy()), sparse=True)
    layer.weight.requires_grad_()
    mine, reference = (
        sparse_optimizers.sparse_optimizer(given, weight),
        torch_optimizers.sparse_optimizer(given, layer.weight),
    )
    for _ in range(20):
        rows = RANDOM.permutation(10)[:3]
        gradient = RANDOM.standard_normal((3, 4)).astype(np.float32)
        mine.apply(tf.constant(rows), tf.constant(gradient))
        layer.weight.grad = torch.sparse_coo_tensor(rows[None], gradient, (10, 4), check_invariants=False)
        reference.step()
    np.testing.assert_allclose(weight.numpy(), layer.weight.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert np.abs(weight.numpy() - start).max() > 1e-3


class Tables(TableFactory):
    def __call__(self, spec: Any) -> Any:
        return HashingBackend(HashingBackend.Options(rows=1000)).table(spec)


def trained(kind: Any, features: FeatureSpec, batches: list[EncodedBatch], lab: Any, **given: Any) -> np.ndarray:
    """Scores on arrival of all rows, head after head."""
    executor = kind(kind.Options(device="cpu", **given))
    executor.setup(ExecutorContext(features, Role.CHIEF, 0, ClusterSpec.single(), seed=3, tables=Tables()))
    results = [executor.train(batch, lab.step(number)) for number, batch in enumerate(batches)]
    executor.close()
    return np.concatenate([result.scores[head] for head in features.labels for result in results])


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("model", ["logistic", "fm"])
def test_the_same_stream_gets_the_same_scores(lab: Any, model: str, reduction: str) -> None:
    """Models whose first values are the tables' only."""
    batches = [lab.batch(lab.rich, rows, seed=rows) for rows in (3, 1, 20, 4, 4, 0, 60, 5, 33, 2) * 3]
    given = {
        "model": model,
        "reduction": reduction,
        "optimizer": {"name": "adagrad", "learning_rate": 0.2, "initial_accumulator": 1},
        "dense_optimizer": {"name": "adam", "learning_rate": 0.01},
    }
    ours, theirs = (trained(kind, lab.rich, batches, lab, **given) for kind in (TensorflowExecutor, TorchExecutor))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    assert np.ptp(theirs) > 0.3


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    ranks = scores.argsort().argsort()
    positive = labels == 1
    return (ranks[positive].mean() - (positive.sum() - 1) / 2) / (~positive).sum()


@pytest.mark.parametrize("model", ["deepfm", "dcn"])
def test_models_with_hidden_layers_learn_as_well(lab: Any, model: str) -> None:
    features = FeatureSpec(categorical=("a", "b"), numeric=("x",), labels=("y",))
    random = np.random.default_rng(1)
    taste = random.standard_normal((40, 40))
    batches = []
    for _ in range(300):
        ids, x = random.integers(0, 40, (32, 2)), random.standard_normal(32).astype(np.float32)
        logit = 2 * taste[ids[:, 0], ids[:, 1]] * (ids[:, 0] < 20) + x + (ids[:, 1] < 20)
        label = (random.random(32) < 1 / (1 + np.exp(-logit))).astype(np.float32)
        batches.append(EncodedBatch(ids, {}, {"x": x}, {"y": label}))
    labels = np.concatenate([batch.labels["y"] for batch in batches])
    given = {"model": model, "width": 4, "hidden": [16], "dense_optimizer": {"name": "adam", "learning_rate": 0.003}}
    found = {}
    for kind in (TensorflowExecutor, TorchExecutor):
        scores = trained(kind, features, batches, lab, optimizer={"name": "adagrad", "learning_rate": 0.1}, **given)
        found[kind.__name__] = auc(scores[3200:], labels[3200:])
    assert min(found.values()) > 0.7
    assert found["TensorflowExecutor"] == pytest.approx(found["TorchExecutor"], abs=0.02), found
