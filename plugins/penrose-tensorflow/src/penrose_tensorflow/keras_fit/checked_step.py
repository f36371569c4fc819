"""The training step of a Keras model, looked at as it is traced: all that decides what it does has to be known.

Scoring does not run it, so what only training reads shows here and nowhere else. It is found on the first batch, before
anything is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from penrose_host import TrainingError
from penrose_tensorflow.outputs import unknown_variables
from penrose_tensorflow.random_operations import stateful_draws

__all__ = ["check_step"]


def check_step(model: keras.Model, name: str, known: Callable[[], Iterable[Any]]) -> None:
    """Have each trace of `model.train_step` raise `TrainingError` where it uses state that is not `known`,
    makes variables, or has another optimizer than the model has now.

    `known`: variables, asked for when the step has been traced, for Keras makes metrics meanwhile. Steps that Keras
    does not trace (`run_eagerly`) are not looked at.
    """
    step, optimizer, variables = model.train_step, model.optimizer, len(model.variables)

    def checked(data: Any) -> Any:
        if model.optimizer is not optimizer:
            raise TrainingError(
                f"the model of {name} has another optimizer than it was returned with, and no checkpoint holds it",
                hint="compile the model in the function that returns it, and not in the loop",
            )
        found = step(data)
        if len(model.variables) > variables:
            raise TrainingError(
                f"the training step of {name} makes variables that a resumed run would not have yet: "
                + ", ".join(variable.path for variable in model.variables[variables:]),
                hint="make them in the model's __init__, or where it is called, in training or not",
            )
        graph = tf.compat.v1.get_default_graph()
        if not tf.executing_eagerly():
            _check(graph, name, known())
        return found

    model.train_step = checked


def _check(graph: Any, name: str, known: Iterable[Any]) -> None:
    if unknown := unknown_variables(graph, known):
        raise TrainingError(
            f"the training step of {name} uses variables that Keras does not know, nor a checkpoint: {unknown}",
            hint="make them with add_weight, draw from a keras.random.SeedGenerator, and assign both, and layers, to "
            "attributes of the model; train with its own optimizer alone",
        )
    if drawing := stateful_draws(graph):
        raise TrainingError(
            f"the training step of {name} draws with {', '.join(sorted(drawing))}, whose state no checkpoint can hold",
            hint="draw with keras.random, from a keras.random.SeedGenerator that is an attribute of a layer",
        )
