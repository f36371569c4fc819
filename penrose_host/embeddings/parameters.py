"""Checks names and parameters that a job gives to optimizers and initializers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

from penrose_host.errors import ConfigError

__all__ = ["checked", "known"]

T = TypeVar("T")


def known(place: str, name: str, choices: Mapping[str, T]) -> T:
    """The choice called `name`. Raises `ConfigError`, listing the names there are."""
    if name not in choices:
        raise ConfigError([(place, f"{name!r} does not exist; there are {', '.join(choices)}")])
    return choices[name]


def checked(place: str, name: str, defaults: Mapping[str, float], given: Mapping[str, float]) -> dict[str, float]:
    """`defaults`, overridden by `given`. Raises `ConfigError` for unknown names and for values that are no numbers."""
    faults = []
    for parameter, value in given.items():
        if parameter not in defaults:
            choices = ", ".join(defaults) or "none"
            faults.append((place, f"{name} has no parameter {parameter!r}; its parameters: {choices}"))
        elif isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            faults.append((place, f"{name}: {parameter} must be a finite number, not {value!r}"))
    if faults:
        raise ConfigError(faults)
    return {parameter: float(given.get(parameter, default)) for parameter, default in defaults.items()}
