"""What a table is made with, checked and complete: names resolved, defaults filled in. Every face starts here."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from penrose_tfplus import _native

if TYPE_CHECKING:
    from penrose_tfplus._native import Parameter

__all__ = ["ResolvedOptions", "default_threads", "parameter_value", "resolve"]


def default_threads() -> int:
    """The processors that this process may use, at most 8: beyond that the memory is what is waited for."""
    return min(8, len(os.sched_getaffinity(0)))


@dataclass(frozen=True)
class ResolvedOptions:
    """As the core takes them, in its order."""

    width: int
    optimizer: str
    parameters: tuple[float, ...]
    initializer: str
    initial: tuple[float, ...]
    seed: int
    admission: Literal["always", "count", "probability"]
    admit: float
    max_rows: int
    evict_at_limit: bool
    shards: int
    threads: int

    @property
    def slot_widths(self) -> dict[str, int]:
        """Slot → its numbers in a row, in the order that they stand in it."""
        slots = next(slots for name, slots, _ in _native.optimizers() if name == self.optimizer)
        return {name: 1 if per_row else self.width for name, per_row in slots}

    @property
    def learning_rate(self) -> Parameter:
        """The optimizer's own, which a step may come with another of."""
        return next(parameters[0] for name, _, parameters in _native.optimizers() if name == self.optimizer)

    @property
    def arguments(self) -> dict[str, Any]:
        """What `resolve` makes these options of, as JSON has it. Without the threads: they are the machine's."""
        optimizer = next(parameters for name, _, parameters in _native.optimizers() if name == self.optimizer)
        initial = dict(_native.initializers())[self.initializer]
        return {
            "width": self.width,
            "optimizer": self.optimizer,
            "optimizer_parameters": {p[0]: value for p, value in zip(optimizer, self.parameters, strict=True)},
            "initializer": self.initializer,
            "initializer_parameters": {p[0]: value for p, value in zip(initial, self.initial, strict=True)},
            "seed": self.seed,
            "admit_count": int(self.admit) if self.admission == "count" else None,
            "admit_probability": self.admit if self.admission == "probability" else None,
            "max_rows": self.max_rows or None,
            "at_limit": "evict" if self.evict_at_limit else "fail",
            "shards": self.shards,
        }


def resolve(
    width: int,
    optimizer: str,
    *,
    optimizer_parameters: Mapping[str, float] | None = None,
    initializer: str = "zeros",
    initializer_parameters: Mapping[str, float] | None = None,
    seed: int = 0,
    admit_count: int | None = None,
    admit_probability: float | None = None,
    max_rows: int | None = None,
    at_limit: Literal["fail", "evict"] = "fail",
    shards: int = 64,
    threads: int | None = None,
) -> ResolvedOptions:
    """The options of `Table`. Raises ValueError for what does not exist or cannot be a value."""
    width = _size("width", width, 1, 1024)
    declared = _chosen("optimizer", optimizer, {name: parameters for name, _, parameters in _native.optimizers()})
    initial = _chosen("initializer", initializer, dict(_native.initializers()))
    if admit_count is not None and admit_probability is not None:
        raise ValueError("give admit_count or admit_probability, not both")
    if admit_count is not None:
        admit_count = _size("admit_count", admit_count, 1, 2**32 - 1)
    if admit_probability is not None and not 0 < admit_probability <= 1:
        raise ValueError(f"admit_probability must be above 0 and at most 1, not {admit_probability}")
    if at_limit not in ("fail", "evict"):
        raise ValueError(f"at_limit must be fail or evict, not {at_limit!r}")
    return ResolvedOptions(
        width=width,
        optimizer=optimizer,
        parameters=_values(f"optimizer {optimizer}", declared, optimizer_parameters or {}),
        initializer=initializer,
        initial=_values(f"initializer {initializer}", initial, initializer_parameters or {}),
        seed=seed % 2**64,
        admission="count" if admit_count else "probability" if admit_probability else "always",
        admit=float(admit_count or admit_probability or 0),
        max_rows=0 if max_rows is None else _size("max_rows", max_rows, 1, 2**63 - 1),
        evict_at_limit=at_limit == "evict",
        shards=_size("shards", shards, 1, 4096),
        threads=default_threads() if threads is None else _size("threads", threads, 1, 256),
    )


def parameter_value(what: str, declared: Parameter, value: Any) -> float:
    """A number that the parameter may have. Raises ValueError."""
    name, _, low, high = declared
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not low <= value < high:
        raise ValueError(f"{what}: {name} must be a number from {low:g} below {high:g}, not {value!r}")
    return float(value)


def _size(what: str, value: int, low: int, high: int) -> int:
    value = operator.index(value)
    if not low <= value <= high:
        raise ValueError(f"{what} must be from {low} to {high}, not {value}")
    return value


def _chosen(what: str, name: str, known: Mapping[str, Sequence[Parameter]]) -> Sequence[Parameter]:
    if name not in known:
        raise ValueError(f"there is no {what} {name!r}; there are {', '.join(known)}")
    return known[name]


def _values(what: str, declared: Sequence[Parameter], given: Mapping[str, float]) -> tuple[float, ...]:
    """All parameters in their order, defaults filled in."""
    names = [parameter[0] for parameter in declared]
    unknown = sorted(given.keys() - set(names))
    if unknown:
        raise ValueError(f"{what} has no parameter {unknown[0]!r}; its parameters: {', '.join(names) or 'none'}")
    return tuple(parameter_value(what, parameter, given.get(parameter[0], parameter[1])) for parameter in declared)
