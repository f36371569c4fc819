"""What layers of Keras hold beside their variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

__all__ = ["held_by_layers", "lookup_tables"]


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


def lookup_tables(model: keras.Model) -> list[Any]:
    """TensorFlow's own tables of what does not change, which an export has to track."""
    kind = tf.saved_model.experimental.TrackableResource
    return list({id(held): held for held in held_by_layers(model) if isinstance(held, kind)}.values())
