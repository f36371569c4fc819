"""The options of a table, resolved: checked, names looked up, defaults filled in. Every face starts here."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from penrose_tfplus import _native
from penrose_tfplus.table_options import TableOptions, with_defaults

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
    def table_options(self) -> TableOptions:
        """What `resolve` makes these of, as JSON has it. Without the threads: they are the machine's."""
        optimizer = next(parameters for name, _, parameters in _native.optimizers() if name == self.optimizer)
        initial = dict(_native.initializers())[self.initializer]
        return {
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


def resolve(width: int, given: TableOptions) -> ResolvedOptions:
    """The options of a table of this width. Raises ValueError for what does not exist or cannot be a value.

    A size that is not a whole number raises TypeError.
    """
    width = _size("width", width, 1, 1024)
    options = with_defaults(given)
    optimizer, initializer = options["optimizer"], options["initializer"]
    declared = _chosen("optimizer", optimizer, {name: parameters for name, _, parameters in _native.optimizers()})
    initial = _chosen("initializer", initializer, dict(_native.initializers()))
    admission, admit = _admission(options["admit_count"], options["admit_probability"])
    max_rows, threads, at_limit = options["max_rows"], options["threads"], options["at_limit"]
    if at_limit not in ("fail", "evict"):
        raise ValueError(f"at_limit must be fail or evict, not {at_limit!r}")
    return ResolvedOptions(
        width=width,
        optimizer=optimizer,
        parameters=_values(f"optimizer {optimizer}", declared, options["optimizer_parameters"]),
        initializer=initializer,
        initial=_values(f"initializer {initializer}", initial, options["initializer_parameters"]),
        seed=options["seed"] % 2**64,
        admission=admission,
        admit=admit,
        max_rows=0 if max_rows is None else _size("max_rows", max_rows, 1, 2**63 - 1),
        evict_at_limit=at_limit == "evict",
        shards=_size("shards", options["shards"], 1, 4096),
        threads=default_threads() if threads is None else _size("threads", threads, 1, 256),
    )


def parameter_value(what: str, declared: Parameter, value: Any) -> float:
    """A number that the parameter may have. Raises ValueError."""
    name, _, low, high = declared
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not low <= value < high:
        raise ValueError(f"{what}: {name} must be a number from {low:g} below {high:g}, not {value!r}")
    return float(value)


def _admission(count: int | None, probability: float | None) -> tuple[Literal["always", "count", "probability"], float]:
    """Which keys become rows, and the number that goes with it."""
    if count is not None and probability is not None:
        raise ValueError("give admit_count or admit_probability, not both")
    if count is not None:
        return "count", float(_size("admit_count", count, 1, 2**32 - 1))
    if probability is None:
        return "always", 0.0
    if not 0 < probability <= 1:
        raise ValueError(f"admit_probability must be above 0 and at most 1, not {probability}")
    return "probability", float(probability)


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
