"""What layers of Keras hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

__all__ = ["held_by_layers", "kept"]


def held_by_layers(model: keras.Model) -> Iterator[Any]:
    """Attributes of the model and of its layers, and what is in those that are lists or dictionaries."""
    for layer in model._flatten_layers():
        for value in vars(layer).values():
            if isinstance(value, Mapping):
                yield from value.values()
            elif isinstance(value, list | tuple):
                yield from value
            else:
                yield value


def kept(model: keras.Model) -> list[Any]:
    """What an export has to track of a model: its variables, and TensorFlow's own tables of what does not change."""
    kind = tf.saved_model.experimental.TrackableResource
    tables = {id(held): held for held in held_by_layers(model) if isinstance(held, kind)}
    return [*(variable.value for variable in model.variables), *tables.values()]
