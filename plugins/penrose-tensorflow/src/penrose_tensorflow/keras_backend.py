"""Keras runs on one framework at a time, which the environment or a file of the user's chooses."""

from __future__ import annotations

from penrose_host import ConfigError

__all__ = ["other_backend"]


def other_backend(name: str) -> ConfigError:
    """The error where Keras runs on another framework: its name as Keras has it."""
    return ConfigError(
        [("executor", f"Keras runs on {name}, not on TensorFlow")], hint="KERAS_BACKEND=tensorflow penrose run …"
    )
