"""From options and context to a learner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from penrose_host import ConfigError, TableSpec, TrainingError
from penrose_host.executors import MODELS, Layout, fault
from penrose_tensorflow.custom import custom_model
from penrose_tensorflow.graph import GraphLearner, Model
from penrose_tensorflow.learner import Learner
from penrose_tensorflow.models import Logistic, named_model
from penrose_tensorflow.optimizers import dense_optimizer
from penrose_tensorflow.options import TensorflowOptions
from penrose_tensorflow.rows import LayerRows, RowSource, TableRows
from penrose_tensorflow.runtime import prepare
from penrose_tensorflow.sparse import sparse_optimizer

if TYPE_CHECKING:
    from penrose_host import ExecutorContext, TableFactory

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
        return _fit(options, context)
    if options.model_fn is not None:
        return _model_fn(options, context)
    model: Model
    if options.model in MODELS:
        model = named_model(options, layout.slots, len(features.numeric), len(features.labels))
    else:
        model = custom_model(options, features)
    rows = row_source(options, context, model)

    def learner() -> Learner:
        optimizer = dense_optimizer(options.dense_optimizer, [one for one in model.variables if one.trainable])
        return GraphLearner(options.model, layout, model, rows, optimizer, options.reduction, options.threads)

    try:
        made, found = len(model.variables), learner()
        # Layers that only training calls were made as it was traced, and have to be trained too.
        return found if len(model.variables) == made else learner()
    except TrainingError as error:
        # Tracing it for any number of rows, which is more than trying it.
        raise fault("executor.model", error.message, error.hint) from error


def _fit(options: TensorflowOptions, context: ExecutorContext) -> Learner:
    from penrose_tensorflow.fit import FitLearner

    if context.tables is not None:
        raise ConfigError(
            [("embedding", f"with `loop: {options.loop}` the model holds its embeddings itself, in layers of its own")],
            hint="embedding: none",
        )
    return FitLearner(options, context.features)


def _model_fn(options: TensorflowOptions, context: ExecutorContext) -> Learner:
    from penrose_tensorflow.model_fn import ModelFnLearner

    rows = None if context.tables is None else _table_rows(options, context.tables, context.seed, options.width)
    return ModelFnLearner(options, context.features, rows)


def row_source(options: TensorflowOptions, context: ExecutorContext, model: Model) -> RowSource:
    """Rows of the host's table, or of a variable with `embedding: none`."""
    scale = 0.0 if isinstance(model, Logistic) else options.init_scale
    if context.tables is not None:
        return _table_rows(options, context.tables, context.seed, model.width, scale)
    shape = [options.embedding_rows, model.width]
    first = tf.random.stateless_normal(shape, [context.seed % 2**63, 0], stddev=scale) if scale else tf.zeros(shape)
    weight = tf.Variable(first, name="weight")
    return LayerRows(weight, sparse_optimizer(options.optimizer, weight))


def _table_rows(
    options: TensorflowOptions, tables: TableFactory, seed: int, width: int, scale: float | None = None
) -> TableRows:
    stddev = options.init_scale if scale is None else scale
    initializer = ("normal", {"stddev": stddev}) if stddev else ("zeros", {})
    optimizer = (options.optimizer.name, options.optimizer.parameters)
    return TableRows(tables(TableSpec("embeddings", width, optimizer, initializer, seed)))
