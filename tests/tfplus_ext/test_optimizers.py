"""Every optimizer does what its paper says, in the table, with repeated keys and rows that come late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from table_optimizers import SLOTS, RowTable

from penrose_host.contracts.embedding import TableSpec
from penrose_host.embeddings.optimizers import _OPTIMIZERS as HOST_OPTIMIZERS, Optimizer
from penrose_tfplus import Table, optimizers

WIDTHS = [1, 3, 8, 16, 17, 64, 1024]
#: Not the defaults: every parameter has an effect.
PARAMETERS: Mapping[str, list[dict[str, float]]] = {
    "sgd": [{"learning_rate": 0.1}],
    "adagrad": [{"learning_rate": 0.1}, {"learning_rate": 0.3, "initial_accumulator": 0.1, "epsilon": 1e-3}],
    "rowwise_adagrad": [{"learning_rate": 0.1}, {"learning_rate": 0.3, "initial_accumulator": 0.1, "epsilon": 1e-3}],
    "adam": [{"learning_rate": 0.1}, {"learning_rate": 0.01, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3}],
    "rectified_adam": [{"learning_rate": 0.1}, {"learning_rate": 0.01, "beta1": 0.5, "beta2": 0.8, "epsilon": 1e-3}],
    "ftrl": [
        {"learning_rate": 0.1},
        {"learning_rate": 0.3, "beta": 0.5, "l1": 0.2, "l2": 0.1, "initial_accumulator": 0.1},
    ],
    "group_adam": [
        {"learning_rate": 0.1, "l21": 0.3},
        {"learning_rate": 0.05, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-3, "l1": 0.2, "l2": 0.1, "l21": 0.1},
    ],
    "sparse_group_ftrl": [
        {"learning_rate": 0.1, "l21": 0.3},
        {"learning_rate": 0.3, "lr_power": -0.7, "l1": 0.2, "l2": 0.1, "l21": 0.1, "initial_accumulator": 0.1},
    ],
}
CASES = [
    pytest.param(name, given, id=f"{name}{i}") for name, all_ in PARAMETERS.items() for i, given in enumerate(all_)
]
FIRST = 0.25  # what weights start at


def completed(name: str, given: Mapping[str, float]) -> dict[str, float]:
    return {**optimizers()[name], **given}


def made(name: str, given: Mapping[str, float], width: int) -> Table:
    return Table(
        width,
        optimizer=name,
        optimizer_parameters=given,
        initializer="constant",
        initializer_parameters={"value": FIRST},
        threads=1,
    )


def draw(random: np.random.Generator, keys: Any, width: int) -> Any:
    """Gradients of all sizes from 0.01 up; none so small that an epsilon is what counts."""
    size = random.uniform(0.01, 2.0, (len(keys), width))
    return (size * random.choice([-1.0, 1.0], size.shape)).astype(np.float32)


def assert_close(actual: Any, expected: Any) -> None:
    """To 1e-6, or to some dozen float32 roundings of the largest number: each step rounds, FTRL's sums too."""
    largest = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=max(1e-6, 4e-6 * largest))


def assert_same(table: Table, reference: RowTable) -> None:
    keys = table.keys()
    assert keys.tolist() == sorted(reference.rows)
    if not len(keys):
        return
    assert_close(table.lookup(keys), reference.column("w", keys))
    slots = table.slots(keys)
    assert list(slots) == list(SLOTS[reference.optimizer])
    for name, values in slots.items():
        assert_close(values, reference.column(name, keys))


def test_every_optimizer_is_tested() -> None:
    assert set(PARAMETERS) == set(optimizers())


@pytest.mark.parametrize(("name", "given_"), CASES)
@settings(max_examples=120)
@given(data=st.data())
def test_a_stream_with_repeated_keys_ends_like_the_published_rule(
    name: str, given_: dict[str, float], data: st.DataObject
) -> None:
    width = data.draw(st.sampled_from([1, 2, 3, 8, 17]))
    steps = data.draw(st.lists(st.lists(st.integers(-3, 3), max_size=6), max_size=10))
    rates = data.draw(st.lists(st.sampled_from([0.01, 0.1, 0.5]), min_size=len(steps), max_size=len(steps)))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    looked_up = data.draw(st.booleans())
    table = made(name, given_, width)
    reference = RowTable(name, completed(name, given_), width, FIRST)
    for chosen, rate in zip(steps, rates, strict=True):
        keys = np.array(chosen, np.int64)
        gradients = draw(random, keys, width)
        if looked_up:
            table.lookup(keys, train=True)
        table.apply(keys, gradients, learning_rate=rate)
        reference.step(keys, gradients, rate)
    assert_same(table, reference)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("name", "given_"), CASES)
def test_every_width_follows_the_rule(name: str, given_: dict[str, float], width: int) -> None:
    random = np.random.default_rng(width)
    table, reference = made(name, given_, width), RowTable(name, completed(name, given_), width, FIRST)
    for _ in range(12):
        keys = random.integers(-20, 20, 40)
        gradients = draw(random, keys, width)
        table.lookup(keys, train=True)
        table.apply(keys, gradients)
        reference.step(keys, gradients, given_["learning_rate"])
    assert_same(table, reference)


@pytest.mark.parametrize(("name", "given_"), CASES)
def test_a_row_whose_first_gradient_is_zero_stays_finite(name: str, given_: dict[str, float]) -> None:
    table = made(name, given_, 4)
    key = np.array([5], np.int64)
    for gradient in (0.0, 0.0, 1.0):
        table.apply(key, np.full((1, 4), gradient, np.float32))
        assert np.isfinite(table.lookup(key)).all()
        assert all(np.isfinite(values).all() for values in table.slots(key).values())


@pytest.mark.parametrize("name", ["group_adam", "sparse_group_ftrl"])
def test_without_penalties_a_zero_gradient_leaves_a_new_row_as_it_is(name: str) -> None:
    table, key = made(name, {}, 4), np.array([5], np.int64)
    table.apply(key, np.zeros((1, 4), np.float32))
    np.testing.assert_allclose(table.lookup(key), FIRST, rtol=1e-6)


#: The rules have Adam's epsilon in different places: it is too small here to count.
TINY = {"epsilon": 1e-15}
SAME = [
    ("group_adam", {"learning_rate": 0.05, **TINY}, "adam", {"learning_rate": 0.05, **TINY}),
    ("group_adam", {"beta1": 0.5, "beta2": 0.9, **TINY}, "adam", {"beta1": 0.5, "beta2": 0.9, **TINY}),
    ("sparse_group_ftrl", {"learning_rate": 0.05}, "adagrad", {"learning_rate": 0.05}),
    ("sparse_group_ftrl", {"initial_accumulator": 0.1}, "adagrad", {"learning_rate": 0.1, "initial_accumulator": 0.1}),
]


@pytest.mark.parametrize(("name", "given_", "plain", "plain_given"), SAME)
@settings(max_examples=120)
@given(data=st.data())
def test_without_penalties_the_group_optimizers_are_adam_and_adagrad(
    name: str, given_: dict[str, float], plain: str, plain_given: dict[str, float], data: st.DataObject
) -> None:
    """Whenever a row is first seen. Not to the last bit: the group optimizers keep w as z divided by a scale."""
    steps = data.draw(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=15))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    group, other = made(name, given_, 8), made(plain, plain_given, 8)
    for chosen in steps:
        keys = np.array(chosen, np.int64)
        gradients = draw(random, keys, 8)
        for table in (group, other):
            table.lookup(keys, train=True)
            table.apply(keys, gradients)
    assert_close(group.lookup(group.keys()), other.lookup(group.keys()))


@pytest.mark.parametrize("name", ["group_adam", "sparse_group_ftrl"])
def test_a_row_that_became_zero_goes_on_learning_and_comes_back(name: str) -> None:
    table, keys = made(name, {"learning_rate": 0.1, "l21": 1.0}, 8), np.array([1, 2], np.int64)
    strong = np.float32(5.0)
    for step in range(10):
        table.apply(keys, np.stack([np.full(8, 1e-3, np.float32), np.full(8, strong * (-1) ** step, np.float32)]))
    weights = table.lookup(keys)
    assert (weights[0] == 0).all()
    before = {slot: values[0].copy() for slot, values in table.slots(keys).items()}
    table.apply(keys[:1], np.full((1, 8), -1e-3, np.float32))
    assert (table.lookup(keys)[0] == 0).all()
    assert any((before[slot] != values[0]).any() for slot, values in table.slots(keys).items())
    for _ in range(20):
        table.apply(keys[:1], np.full((1, 8), -strong, np.float32))
    assert (table.lookup(keys)[0] > 0).all()


TORCH = [
    ("adam", torch.optim.Adam, {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-4}),
    ("rectified_adam", torch.optim.RAdam, {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-4}),
    ("rectified_adam", torch.optim.RAdam, {"lr": 0.05, "betas": (0.9, 0.999), "eps": 1e-8}),
    ("adagrad", torch.optim.Adagrad, {"lr": 0.05, "initial_accumulator_value": 0.1, "eps": 1e-4}),
    ("adagrad", torch.optim.Adagrad, {"lr": 0.05, "eps": 1e-10}),
    ("sgd", torch.optim.SGD, {"lr": 0.05}),
]
NAMES = {"lr": "learning_rate", "eps": "epsilon", "initial_accumulator_value": "initial_accumulator"}


@pytest.mark.parametrize(("name", "peer", "options"), TORCH)
def test_rows_that_are_in_every_step_end_as_in_torch(name: str, peer: Any, options: dict[str, Any]) -> None:
    """PyTorch's dense optimizers move every row in every step, so that every step here has every key."""
    random = np.random.default_rng(3)
    keys = np.array([4, -7, 11], np.int64)
    parameters = {NAMES[option]: value for option, value in options.items() if option in NAMES}
    if "betas" in options:
        parameters |= dict(zip(("beta1", "beta2"), options["betas"], strict=True))
    table = made(name, parameters, 16)
    weights = torch.full((3, 16), FIRST, requires_grad=True)
    optimizer = peer([weights], **options)
    for step in range(60):
        gradients = draw(random, keys, 16)
        rate = options["lr"] / (1 + step // 20)
        optimizer.param_groups[0]["lr"] = rate
        weights.grad = torch.from_numpy(gradients)
        optimizer.step()
        table.apply(keys, gradients, learning_rate=rate)
    assert_close(table.lookup(keys), weights.detach().numpy())


@pytest.mark.parametrize(("name", "given_"), [case for case in CASES if case.values[0] in HOST_OPTIMIZERS])
def test_the_optimizers_of_the_host_give_the_same_weights(name: str, given_: dict[str, float]) -> None:
    random = np.random.default_rng(4)
    spec = TableSpec("t", 16, optimizer=(name, given_))
    host, table = Optimizer.of(spec), made(name, given_, 16)
    weights = np.full((50, 16), FIRST, np.float32)
    slots = tuple(np.full((50, 1 if slot.per_row else 16), slot.initial, np.float32) for slot in host.slots)
    for _ in range(30):
        keys = random.choice(50, 20, replace=False)
        gradients = draw(random, keys, 16)
        part, state = weights[keys], tuple(slot[keys] for slot in slots)
        host.update(part, state, gradients)
        weights[keys] = part
        for whole, values in zip(slots, state, strict=True):
            whole[keys] = values
        table.apply(keys, gradients)
    seen = table.keys()
    np.testing.assert_allclose(table.lookup(seen), weights[seen], rtol=1e-5, atol=1e-6)
    for name_, values in zip(table.slot_widths, slots, strict=True):
        np.testing.assert_allclose(table.slots(seen)[name_], values[seen], rtol=1e-5, atol=1e-6)


def test_parameters_and_defaults_are_those_of_the_host() -> None:
    ours = optimizers()
    assert {name: ours[name] for name in HOST_OPTIMIZERS} == {
        name: dict(host[0]) for name, host in HOST_OPTIMIZERS.items()
    }


def test_learning_rates_apply_to_one_step_only() -> None:
    table, key = made("sgd", {"learning_rate": 0.5}, 1), np.array([0], np.int64)
    gradient = np.ones((1, 1), np.float32)
    for rate, expected in ((None, FIRST - 0.5), (0.125, FIRST - 0.625), (None, FIRST - 1.125), (0.0, FIRST - 1.125)):
        table.apply(key, gradient, learning_rate=rate)
        assert table.lookup(key).item() == expected
