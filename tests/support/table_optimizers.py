"""The rules of the table optimizers as they were published, one row at a time in float64: slow, and plain to read.

A rule gets a row (name → float64 [width], or a number), the gradient g of one step and the parameters p, and changes
the row. Weights are `w`; `steps` counts the row's own updates, this one included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["RULES", "SLOTS", "RowTable"]

Row = dict[str, Any]
Parameters = Mapping[str, float]


def sgd(row: Row, g: Any, p: Parameters) -> None:
    row["w"] = row["w"] - p["learning_rate"] * g


def adagrad(row: Row, g: Any, p: Parameters) -> None:
    row["accumulator"] = row["accumulator"] + g**2
    row["w"] = row["w"] - p["learning_rate"] * g / (np.sqrt(row["accumulator"]) + p["epsilon"])


def rowwise_adagrad(row: Row, g: Any, p: Parameters) -> None:
    row["accumulator"] = row["accumulator"] + np.mean(g**2)
    row["w"] = row["w"] - p["learning_rate"] * g / (np.sqrt(row["accumulator"]) + p["epsilon"])


def moments(row: Row, g: Any, p: Parameters) -> None:
    row["first"] = p["beta1"] * row["first"] + (1 - p["beta1"]) * g
    row["second"] = p["beta2"] * row["second"] + (1 - p["beta2"]) * g**2


def adam(row: Row, g: Any, p: Parameters) -> None:
    moments(row, g, p)
    first = row["first"] / (1 - p["beta1"] ** row["steps"])
    second = row["second"] / (1 - p["beta2"] ** row["steps"])
    row["w"] = row["w"] - p["learning_rate"] * first / (np.sqrt(second) + p["epsilon"])


def rectified_adam(row: Row, g: Any, p: Parameters) -> None:
    moments(row, g, p)
    t, decay = row["steps"], p["beta2"] ** row["steps"]
    longest = 2 / (1 - p["beta2"]) - 1
    length = longest - 2 * t * decay / (1 - decay)
    step: Any = p["learning_rate"] * row["first"] / (1 - p["beta1"] ** t)
    if length > 5:
        rectified = ((length - 4) * (length - 2) * longest) / ((longest - 4) * (longest - 2) * length)
        step = step * np.sqrt(rectified) * np.sqrt(1 - decay) / (np.sqrt(row["second"]) + p["epsilon"])
    row["w"] = row["w"] - step


def ftrl(row: Row, g: Any, p: Parameters) -> None:
    before = row["accumulator"]
    after = row["accumulator"] = before + g**2
    sigma = (np.sqrt(after) - np.sqrt(before)) / p["learning_rate"]
    z = row["linear"] = row["linear"] + g - sigma * row["w"]
    scale = (p["beta"] + np.sqrt(after)) / p["learning_rate"] + p["l2"]
    row["w"] = np.where(np.abs(z) <= p["l1"], 0.0, -(z - np.sign(z) * p["l1"]) / scale)


def sparse_group(z: Any, l1: float, l21: float, scale: Any) -> Any:
    u = np.clip(z, -l1, l1) - z
    norm, threshold = np.linalg.norm(u), l21 * np.sqrt(len(z))
    return np.zeros_like(z) if norm <= threshold else u * (1 - threshold / norm) / scale


def group_adam(row: Row, g: Any, p: Parameters) -> None:
    rate, t, before = p["learning_rate"], row["steps"], row["second"]
    moments(row, g, p)
    a = rate * np.sqrt(1 - p["beta2"] ** t) / (1 - p["beta1"] ** t)
    root = np.sqrt(row["second"])
    if t == 1:
        row["linear"] = a * row["first"] - (root + p["epsilon"]) * row["w"]
    else:
        row["linear"] = row["linear"] + a * row["first"] - (root - np.sqrt(before)) * row["w"]
    scale = root + p["epsilon"] + 2 * rate * p["l2"]
    row["w"] = sparse_group(row["linear"], rate * p["l1"], rate * p["l21"], scale)


def sparse_group_ftrl(row: Row, g: Any, p: Parameters) -> None:
    rate, power = p["learning_rate"], -p["lr_power"]
    before = row["accumulator"]
    after = row["accumulator"] = before + g**2
    curvature = after**power - (before**power if row["steps"] > 1 else 0.0)
    row["linear"] = row["linear"] + g - curvature / rate * row["w"]
    row["w"] = sparse_group(row["linear"], p["l1"], p["l21"], after**power / rate + 2 * p["l2"])


RULES: Mapping[str, Callable[[Row, Any, Parameters], None]] = {
    rule.__name__: rule
    for rule in (sgd, adagrad, rowwise_adagrad, adam, rectified_adam, ftrl, group_adam, sparse_group_ftrl)
}
#: Optimizer → its slots; those that start at a parameter name it.
SLOTS: Mapping[str, Mapping[str, str | None]] = {
    "sgd": {},
    "adagrad": {"accumulator": "initial_accumulator"},
    "rowwise_adagrad": {"accumulator": "initial_accumulator"},
    "adam": {"first": None, "second": None, "steps": None},
    "rectified_adam": {"first": None, "second": None, "steps": None},
    "ftrl": {"accumulator": "initial_accumulator", "linear": None},
    "group_adam": {"first": None, "second": None, "linear": None, "steps": None},
    "sparse_group_ftrl": {"accumulator": "initial_accumulator", "linear": None, "steps": None},
}
_PER_ROW = {("rowwise_adagrad", "accumulator")} | {(name, "steps") for name in SLOTS}


class RowTable:
    """Key → row, trained by one of the rules."""

    def __init__(self, optimizer: str, parameters: Parameters, width: int, first: float = 0.0) -> None:
        self.optimizer, self.parameters, self.width, self.first = optimizer, parameters, width, first
        self.rows: dict[int, Row] = {}

    def row(self, key: int) -> Row:
        """The row of a key, made where there is none."""
        if key not in self.rows:
            row: Row = {"w": np.full(self.width, np.float64(self.first)), "steps": 0}
            for slot, initial in SLOTS[self.optimizer].items():
                value = self.parameters[initial] if initial else 0.0
                row[slot] = value if (self.optimizer, slot) in _PER_ROW else np.full(self.width, np.float64(value))
            self.rows[key] = row
        return self.rows[key]

    def step(self, keys: Any, gradients: Any, learning_rate: float) -> None:
        """One step; the gradients of a key that comes several times are added up first."""
        sums: dict[int, Any] = {}
        for key, gradient in zip(keys.tolist(), gradients.astype(np.float64), strict=True):
            sums[key] = sums[key] + gradient if key in sums else gradient
        for key, g in sums.items():
            row = self.row(key)
            row["steps"] += 1
            RULES[self.optimizer](row, g, {**self.parameters, "learning_rate": learning_rate})

    def column(self, name: str, keys: Any) -> Any:
        """`w` or a slot of these keys: float64 [n, width] or [n, 1]."""
        return np.stack([np.atleast_1d(np.float64(self.row(key)[name])) for key in keys.tolist()])
