"""Sparse optimizers: pure functions over the rows of one step.

An update gets `weights` float32 [n, width], its `slots` float32 [n, width] or [n, 1], and the summed
`gradients` float32 [n, width] of n different rows, and changes weights and slots in place. Rows that
a step does not name are not touched (Adam's moments too: the lazy form).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from penrose_host.embeddings.parameters import checked, known
from penrose_host.errors import ConfigError

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Float32
    from penrose_host.contracts.embedding import TableSpec

    Update: TypeAlias = Callable[[Float32, tuple[Float32, ...], Float32], None]

__all__ = ["Optimizer", "Slot"]


@dataclass(frozen=True, slots=True)
class Slot:
    """State beside each row: one number a weight, or one a row."""

    name: str
    initial: float = 0.0
    per_row: bool = False


@dataclass(frozen=True, slots=True)
class Optimizer:
    """One optimizer with its parameters (complete, defaults filled in), its slots and its update."""

    name: str
    parameters: Mapping[str, float]
    slots: tuple[Slot, ...]
    update: Update

    @classmethod
    def of(cls, spec: TableSpec) -> Optimizer:
        """The optimizer of a table. Raises `ConfigError` for what does not exist or cannot be a value."""
        name, given = spec.optimizer
        place = f"table {spec.name!r}: optimizer"
        defaults, build = known(place, name, _OPTIMIZERS)
        parameters = checked(place, name, defaults, given)
        for parameter, value in parameters.items():
            low, high = _RANGES[parameter]
            if not low <= value < high:
                raise ConfigError(
                    [(place, f"{name}: {parameter} must be at least {low} and below {high}, not {value}")]
                )
        slots, update = build(parameters)
        return cls(name, parameters, slots, update)


_Built: TypeAlias = tuple[tuple[Slot, ...], "Update"]


def _sgd(parameters: Mapping[str, float]) -> _Built:
    rate = parameters["learning_rate"]

    def update(weights: Float32, _: tuple[Float32, ...], gradients: Float32) -> None:
        weights -= rate * gradients

    return (), update


def _adagrad(parameters: Mapping[str, float]) -> _Built:
    rate, epsilon = parameters["learning_rate"], parameters["epsilon"]

    def update(weights: Float32, slots: tuple[Float32, ...], gradients: Float32) -> None:
        (accumulator,) = slots
        accumulator += gradients * gradients
        weights -= rate * gradients / (np.sqrt(accumulator) + epsilon)

    return (Slot("accumulator", parameters["initial_accumulator"]),), update


def _rowwise_adagrad(parameters: Mapping[str, float]) -> _Built:
    rate, epsilon = parameters["learning_rate"], parameters["epsilon"]

    def update(weights: Float32, slots: tuple[Float32, ...], gradients: Float32) -> None:
        (accumulator,) = slots
        accumulator += (gradients * gradients).mean(axis=1, keepdims=True)
        weights -= rate * gradients / (np.sqrt(accumulator) + epsilon)

    return (Slot("accumulator", parameters["initial_accumulator"], per_row=True),), update


def _adam(parameters: Mapping[str, float]) -> _Built:
    rate, epsilon = parameters["learning_rate"], parameters["epsilon"]
    beta1, beta2 = parameters["beta1"], parameters["beta2"]

    def update(weights: Float32, slots: tuple[Float32, ...], gradients: Float32) -> None:
        # `steps` counts this row's own updates. It stops at 2**24, where both corrections have long been 1.
        first, second, steps = slots
        steps += 1.0
        first += (1.0 - beta1) * (gradients - first)
        second += (1.0 - beta2) * (gradients * gradients - second)
        # In float64: 1 - beta is a small difference of large numbers.
        exact = steps.astype(np.float64)
        rates = (rate / (1.0 - beta1**exact)).astype(np.float32)
        correction = (1.0 / (1.0 - beta2**exact)).astype(np.float32)
        weights -= rates * first / (np.sqrt(second * correction) + epsilon)

    return (Slot("first"), Slot("second"), Slot("steps", per_row=True)), update


def _ftrl(parameters: Mapping[str, float]) -> _Built:
    rate, beta, l1, l2 = (parameters[name] for name in ("learning_rate", "beta", "l1", "l2"))

    def update(weights: Float32, slots: tuple[Float32, ...], gradients: Float32) -> None:
        accumulator, linear = slots
        before = np.sqrt(accumulator)
        accumulator += gradients * gradients
        after = np.sqrt(accumulator)
        linear += gradients - (after - before) / rate * weights
        shrunk = np.sign(linear) * l1 - linear
        shrunk /= (beta + after) / rate + l2
        weights[...] = np.where(np.abs(linear) <= l1, np.float32(0), shrunk)

    return (Slot("accumulator", parameters["initial_accumulator"]), Slot("linear")), update


#: name → (parameters with their defaults, what builds its slots and its update)
_OPTIMIZERS: Mapping[str, tuple[Mapping[str, float], Callable[[Mapping[str, float]], _Built]]] = {
    "sgd": ({"learning_rate": 0.01}, _sgd),
    "adagrad": ({"learning_rate": 0.01, "initial_accumulator": 0.0, "epsilon": 1e-10}, _adagrad),
    "rowwise_adagrad": ({"learning_rate": 0.01, "initial_accumulator": 0.0, "epsilon": 1e-10}, _rowwise_adagrad),
    "adam": ({"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}, _adam),
    "ftrl": ({"learning_rate": 0.1, "beta": 1.0, "l1": 0.0, "l2": 0.0, "initial_accumulator": 0.0}, _ftrl),
}

_SMALLEST, _INFINITY = float(np.finfo(np.float32).tiny), float("inf")
#: parameter → (smallest value, first value that is too large)
_RANGES: Mapping[str, tuple[float, float]] = {
    "learning_rate": (_SMALLEST, _INFINITY),
    "initial_accumulator": (0.0, _INFINITY),
    # Above zero: a gradient of exactly 0 on a fresh row would otherwise be 0 / 0.
    "epsilon": (_SMALLEST, _INFINITY),
    "beta": (_SMALLEST, _INFINITY),
    "beta1": (0.0, 1.0),
    "beta2": (0.0, 1.0),
    "l1": (0.0, _INFINITY),
    "l2": (0.0, _INFINITY),
}
