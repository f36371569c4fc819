"""A Keras model of the user's: found by `module:function`, given features by name, checked for what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from penrose_host import ConfigError, FeatureSpec, TrainingError
from penrose_host.executors import different_names, fault, function
from penrose_tensorflow.failures import raised
from penrose_tensorflow.layers import kept
from penrose_tensorflow.options import TensorflowOptions
from penrose_tensorflow.runtime import eager

__all__ = ["Custom", "custom_model"]

_PLACE = "executor.model"


class Custom:
    """The same interface as the named models have, around the user's model.

    The model gets a dict: categorical and list features float32 [rows, width], numeric ones float32 [rows].
    It gives logits: float32 [rows, heads], [rows] for a single head, or a dict of head → [rows].
    """

    def __init__(self, name: str, model: keras.Model, features: FeatureSpec, width: int) -> None:
        self.name, self.width = name, width
        self.model = model
        self.embedded = (*features.categorical, *(feature.name for feature in features.lists))
        self.numeric = features.numeric
        self.heads = features.labels

    @property
    def variables(self) -> list[keras.Variable]:
        return list(self.model.variables)

    @property
    def kept(self) -> list[Any]:
        return kept(self.model)

    @property
    def losses(self) -> list[tf.Tensor]:
        return list(self.model.losses)

    def logits(self, slots: tf.Tensor, numeric: tf.Tensor, *, training: bool) -> tf.Tensor:
        inputs = {name: slots[:, place] for place, name in enumerate(self.embedded)}
        inputs |= {name: numeric[:, place] for place, name in enumerate(self.numeric)}
        rows, heads = slots.shape[0], len(self.heads)
        try:
            found: Any = self.model(inputs, training=training)
        except Exception as error:
            raise TrainingError(
                f"the model of {self.name} raised {raised(error)} for {_count(rows)} rows",
                hint=f"its input has {', '.join(inputs)}",
            ) from error
        if isinstance(found, Mapping) and found.keys() == set(self.heads):
            columns = [found[head] for head in self.heads]
            if all(_is_logits(column, (rows,)) for column in columns):
                return self._of(tf.stack([_float32(column) for column in columns], 1), slots)
        elif heads == 1 and _is_logits(found, (rows,)):
            return self._of(tf.reshape(_float32(found), [-1, 1]), slots)
        elif _is_logits(found, (rows, heads)):
            return self._of(_float32(found), slots)
        raise TrainingError(
            f"the model of {self.name} returned {_described(found)} for {_count(rows)} rows; expected are logits: "
            f"floats [{_count(rows)}, {heads}]{f' or [{_count(rows)}]' if heads == 1 else ''}, "
            f"or a dict of {', '.join(self.heads)} to floats [{_count(rows)}]"
        )

    def _of(self, logits: tf.Tensor, slots: tf.Tensor) -> tf.Tensor:
        """The logits, after a check at each step that there is one row of them for each row."""
        message = f"the model of {self.name} returned another number of rows than it was given"
        same = tf.debugging.assert_equal(tf.shape(logits)[0], tf.shape(slots)[0], message)
        with tf.control_dependencies([] if same is None else [same]):
            return tf.ensure_shape(tf.identity(logits), [None, len(self.heads)])


def _float32(logits: tf.Tensor) -> tf.Tensor:
    return tf.cast(logits, tf.float32)


def _is_logits(found: Any, shape: tuple[int | None, ...]) -> bool:
    """Whether it is a tensor of floats which may have this shape; None is any number."""
    return bool(tf.is_tensor(found) and found.dtype.is_floating and found.shape.is_compatible_with(shape))


def _count(rows: int | None) -> str:
    return "any number of" if rows is None else str(rows)


def _described(found: Any) -> str:
    if tf.is_tensor(found):
        return f"{found.dtype.name} {found.shape.as_list() if found.shape.rank is not None else 'of any shape'}"
    if isinstance(found, Mapping):
        return "{" + ", ".join(f"{key}: {_described(value)}" for key, value in found.items()) + "}"
    return f"a {type(found).__name__}"


def custom_model(options: TensorflowOptions, features: FeatureSpec) -> Custom:
    """Call the user's function and try its model on zeros. Raises `ConfigError`, naming it, for whatever fails."""
    different_names(_PLACE, features)
    build = function(_PLACE, options.model)
    eager(_PLACE, options.model)
    try:
        made = build(features, width=options.width, **options.model_options)
    except Exception as error:
        raise _fault(
            f"{options.model} raised {raised(error)}", "it is called as function(features, width=…, **model_options)"
        ) from error
    if not isinstance(made, keras.Model):
        raise _fault(f"{options.model} returned a {type(made).__name__}, not a keras.Model")
    model = Custom(options.model, made, features, options.width)
    slots = tf.zeros([3, len(model.embedded), options.width])
    try:
        # Makes the variables that it makes at its first call, too.
        model.logits(slots, tf.zeros([3, len(model.numeric)]), training=False)
    except TrainingError as error:
        raise _fault(error.message, error.hint) from error
    return model


def _fault(message: str, hint: str | None = None) -> ConfigError:
    return fault(_PLACE, message, hint)
