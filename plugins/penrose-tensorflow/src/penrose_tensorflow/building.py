"""From options and context to a learner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penrose_host import ConfigError
from penrose_host.executors import Layout
from penrose_tensorflow.embedding_rows import table_rows
from penrose_tensorflow.learner import Learner
from penrose_tensorflow.options import TensorflowOptions
from penrose_tensorflow.runtime import prepare

if TYPE_CHECKING:
    from penrose_host import ExecutorContext

__all__ = ["build"]


def build(options: TensorflowOptions, context: ExecutorContext) -> Learner:
    """A learner with fresh parameters, which depend on the seed only. Raises `ConfigError`."""
    features = context.features
    if context.parameters is not None:
        raise ConfigError(
            [("executor", "tensorflow keeps its dense parameters itself; it cannot use parameter servers")]
        )
    if not features.labels:
        raise ConfigError([("features.labels", "tensorflow needs at least one label to train for")])
    layout = Layout(features)
    if not layout.slots and not features.numeric:
        raise ConfigError([("features", "tensorflow needs at least one feature")])
    prepare(options, context.seed)
    if options.loop != "host":
        return _keras_fit(options, context)
    if options.model_fn is not None:
        return _model_fn(options, context)
    from penrose_tensorflow.host_loop.building import host_loop_learner

    return host_loop_learner(options, context, layout)


def _keras_fit(options: TensorflowOptions, context: ExecutorContext) -> Learner:
    from penrose_tensorflow.keras_fit.fit_learner import FitLearner

    if context.tables is not None:
        raise ConfigError(
            [("embedding", f"with `loop: {options.loop}` the model holds its embeddings itself, in layers of its own")],
            hint="embedding: none",
        )
    return FitLearner(options, context.features)


def _model_fn(options: TensorflowOptions, context: ExecutorContext) -> Learner:
    from penrose_tensorflow.model_fn.model_fn_learner import ModelFnLearner

    tables = context.tables
    rows = None if tables is None else table_rows(tables, options, context.seed, options.width, options.init_scale)
    return ModelFnLearner(options, context.features, rows)
