"""The optimizers of Keras, by the names and parameters that a job gives them; they are PyTorch's.

Where Keras's formulas differ from PyTorch's: adagrad divides by √(sum + epsilon), not by √sum + epsilon; adam and adamw
add epsilon before, not after, the second moment is corrected for its bias. `weight_decay` of all but adamw is added to
the gradient, as PyTorch does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import keras
import tensorflow as tf

from penrose_host import ConfigError
from penrose_host.embeddings import checked, known
from penrose_host.executors import OptimizerOptions

__all__ = ["DenseOptimizer", "dense_optimizer"]

Make: TypeAlias = Callable[..., keras.optimizers.Optimizer]

_SGD = {"learning_rate": 0.01, "momentum": 0.0, "weight_decay": 0.0}
_ADAGRAD = {"learning_rate": 0.01, "initial_accumulator": 0.0, "epsilon": 1e-10, "weight_decay": 0.0}
_ADAM = {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0}

#: name → (parameters with their defaults, class)
_DENSE: Mapping[str, tuple[Mapping[str, float], Make]] = {
    "sgd": (_SGD, keras.optimizers.SGD),
    "adagrad": (_ADAGRAD, keras.optimizers.Adagrad),
    "adam": (_ADAM, keras.optimizers.Adam),
    "adamw": ({**_ADAM, "weight_decay": 0.01}, keras.optimizers.AdamW),
}
_KERAS_NAMES = {"initial_accumulator": "initial_accumulator_value", "beta1": "beta_1", "beta2": "beta_2"}
_PLACE = "executor.dense_optimizer"


class DenseOptimizer:
    """An optimizer over the dense variables; `decay` times a variable is added to its gradient."""

    def __init__(self, name: str, optimizer: keras.optimizers.Optimizer, decay: float) -> None:
        self.name = name
        self._optimizer = optimizer
        self._decay = decay

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make the optimizer's own variables."""
        self._optimizer.build(list(variables))

    def apply(self, gradients: Sequence[tf.Tensor], variables: Sequence[keras.Variable]) -> None:
        """One step, inside a graph."""
        if self._decay:
            pairs = zip(gradients, variables, strict=True)
            gradients = [gradient + self._decay * variable.value for gradient, variable in pairs]
        self._optimizer.apply(gradients, variables)

    @property
    def variables(self) -> list[tf.Variable]:
        """All that a step reads."""
        return [variable.value for variable in self._optimizer.variables]

    @property
    def state(self) -> list[tf.Variable]:
        """The same without the learning rate, which is the job's and not the checkpoint's."""
        return [variable.value for variable in self._optimizer.variables if variable.name != "learning_rate"]


def dense_optimizer(options: OptimizerOptions, variables: Sequence[keras.Variable]) -> DenseOptimizer | None:
    """The optimizer of the dense parameters; None where there are none. Raises `ConfigError`."""
    defaults, make = known(_PLACE, options.name, _DENSE)
    given = checked(_PLACE, options.name, defaults, options.parameters)
    if not variables:
        return None
    decay = 0.0 if options.name == "adamw" else given.pop("weight_decay")
    try:
        made = make(**{_KERAS_NAMES.get(name, name): value for name, value in given.items()})
    except ValueError as error:
        raise ConfigError([(_PLACE, f"{options.name}: {error}")]) from error
    optimizer = DenseOptimizer(options.name, made, decay)
    optimizer.build(variables)
    return optimizer
