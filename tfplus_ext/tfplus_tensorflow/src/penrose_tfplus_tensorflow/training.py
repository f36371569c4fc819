"""Training tables beside dense variables: tables by their own optimizer, the others by one of Keras's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from penrose_tfplus_tensorflow.kv_variable import KvVariable
from penrose_tfplus_tensorflow.layers import Embedding

__all__ = ["MixedOptimizer", "Model", "TrainsTables", "kv_variables"]

#: A sum beyond this cannot be squared in float32: the tables refuse it.
_LARGEST = 1e18


class MixedOptimizer:
    """One step over both kinds of variables: all of it, or nothing where a gradient is not finite."""

    def __init__(self, dense: keras.optimizers.Optimizer) -> None:
        if isinstance(dense, keras.optimizers.LossScaleOptimizer):
            raise ValueError("tables know nothing of a scaled loss: compile the model with auto_scale_loss=False")
        self.dense = dense

    def minimize(self, loss: Callable[[], tf.Tensor], variables: Sequence[Any], **step: Any) -> tf.Tensor:
        """Differentiate the loss that this gives, and `apply`."""
        with tf.GradientTape() as tape:
            value = loss()
        return self.apply(tape.gradient(value, variables), variables, **step)

    def apply(
        self, gradients: Sequence[Any], variables: Sequence[Any], *, time: Any = 0, learning_rate: Any = None
    ) -> tf.Tensor:
        """Apply the gradients of these variables; None is no gradient. Returns bool: whether all were finite.

        Where one is not, nothing changes. Where a table raises an error, a full one, the dense variables are as they
        were, and other tables may have gone on. `time` and `learning_rate` are for the tables, as in
        `KvVariable.apply_gradients`; the dense learning rate is the Keras optimizer's.
        """
        pairs = list(zip(gradients, variables, strict=True))
        tables = [(gradient, kv) for gradient, kv in pairs if isinstance(kv, KvVariable) and gradient is not None]
        dense = [(gradient, variable) for gradient, variable in pairs if not isinstance(variable, KvVariable)]
        used = [(gradient, variable) for gradient, variable in dense if gradient is not None]
        if not tables and not used:
            raise ValueError("no variable has a gradient: does the loss depend on them?")
        if used and not self.dense.built:
            self.dense.build([variable for _, variable in dense])  # not in the branch of a graph

        def step() -> tf.Tensor:
            for gradient, kv in tables:
                kv.apply_gradients(gradient, time=time, learning_rate=learning_rate)
            # What can fail are the tables. In a graph nothing but this keeps the dense variables from going first.
            gone = [] if tf.executing_eagerly() else [kv.size() for _, kv in tables]
            with tf.control_dependencies(gone):
                if used:
                    self.dense.apply(*zip(*used, strict=True))
                return tf.constant(True)

        finite = tf.reduce_all([_finite(gradient) for gradient, _ in [*tables, *used]])
        return tf.cond(finite, step, lambda: tf.constant(False))


def _finite(gradient: Any) -> tf.Tensor:
    """Whether all numbers of a gradient are finite; of a table's, whether no sum of them is too large for it."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.reduce_sum(tf.abs(gradient.values)) < _LARGEST
    return tf.reduce_all(tf.math.is_finite(gradient))


def _is_given(value: Any) -> bool:
    return value is not None


def kv_variables(model: keras.Layer) -> list[KvVariable]:
    """The tables that a model's trainable layers hold as attributes, or in lists and dictionaries, each once."""
    return list(_held(layer for layer in model._flatten_layers() if layer.trainable))


def _held(layers: Iterable[keras.Layer]) -> dict[KvVariable, None]:
    found: dict[KvVariable, None] = {}
    for layer in layers:
        for value in vars(layer).values():
            held = (
                value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else [value]
            )
            found |= dict.fromkeys(each for each in held if isinstance(each, KvVariable))
    return found


class TrainsTables:
    """Beside a `keras.Model` among the bases: its `fit` trains the tables of its layers along with its weights.

    It saves them too: in `save_weights`, in a saved model, and in a `tf.train.Checkpoint`. A gradient that is not
    finite stops `fit` with InvalidArgumentError, the variables as they were.
    """

    def save_own_variables(self: Any, store: Any) -> None:
        super().save_own_variables(store)
        for prefix, kv in self._tables_to_save().items():
            for name, tensor in kv.state().items():
                store[prefix + name] = tensor.numpy()

    def load_own_variables(self: Any, store: Any) -> None:
        kept = {name: np.asarray(store[name]) for name in store.keys()}  # noqa: SIM118  (stores of Keras have keys())
        for prefix, kv in self._tables_to_save().items():
            names = [name for name in kept if name.startswith(prefix)]
            kv.load_state({name.removeprefix(prefix): kept.pop(name) for name in names})
        super().load_own_variables(kept)

    def _trackable_children(self: Any, save_type: str = "checkpoint", **given: Any) -> dict[str, Any]:
        children: dict[str, Any] = super()._trackable_children(save_type, **given)
        return {**children, **self._tables_to_save()} if save_type == "checkpoint" else children

    def _tables_to_save(self: Any) -> dict[str, KvVariable]:
        """By a name of their own: those that no `Embedding` saves, nor another model inside this one."""
        layers = list(self._flatten_layers())
        elsewhere = {layer.kv for layer in layers if isinstance(layer, Embedding)}
        for layer in layers:
            if isinstance(layer, TrainsTables) and layer is not self:
                elsewhere.update(layer._tables_to_save().values())
        mine = [kv for kv in _held(layers) if kv not in elsewhere]
        return {f"table{at}_": kv for at, kv in enumerate(mine)}

    @property
    def supports_jit(self) -> bool:
        """XLA does not know the ops."""
        return False

    @supports_jit.setter
    def supports_jit(self, value: bool) -> None:
        """Keras sets what its own layers can."""

    def train_step(self: Any, data: Any) -> dict[str, tf.Tensor]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            predicted = self(x, training=True)
            loss = self.compute_loss(x, y, predicted, sample_weight, training=True)
        variables = [*self.trainable_weights, *kv_variables(self)]
        applied = MixedOptimizer(self.optimizer).apply(tape.gradient(loss, variables), variables)
        tf.debugging.Assert(applied, ["a gradient is not finite: lower the learning rate, or look at the data"])
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss, sample_weight=tf.shape(next(filter(_is_given, tf.nest.flatten(x))))[0])
        results: dict[str, tf.Tensor] = self.compute_metrics(x, y, predicted, sample_weight=sample_weight)
        return results


@keras.saving.register_keras_serializable("penrose_tfplus")
class FunctionalModel(TrainsTables, keras.Model):
    """What `Model(inputs, outputs)` gives. Of its own: Keras changes the bases of a class that is made so."""


class Model(TrainsTables, keras.Model):
    """A `keras.Model` that trains tables: `Model(inputs, outputs)`, or a base of one's own."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is Model and (args or "inputs" in kwargs):
            return FunctionalModel(*args, **kwargs)
        return super().__new__(cls, *args, **kwargs)
