"""From options and context to a learner of the host's loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from penrose_host import TrainingError
from penrose_host.executors import MODELS, Layout, fault
from penrose_tensorflow.embedding_rows import RowSource, table_rows
from penrose_tensorflow.host_loop.custom_model import custom_model
from penrose_tensorflow.host_loop.dense_optimizers import dense_optimizer
from penrose_tensorflow.host_loop.host_loop_learner import HostLoopLearner, Model
from penrose_tensorflow.host_loop.layer_rows import LayerRows
from penrose_tensorflow.host_loop.models import Logistic, named_model
from penrose_tensorflow.host_loop.sparse_optimizers import sparse_optimizer
from penrose_tensorflow.options import TensorflowOptions

if TYPE_CHECKING:
    from penrose_host import ExecutorContext

__all__ = ["host_loop_learner"]


def host_loop_learner(options: TensorflowOptions, context: ExecutorContext, layout: Layout) -> HostLoopLearner:
    """A model, named or of the user's, with its embeddings and optimizers. Raises `ConfigError`."""
    features = context.features
    model: Model
    if options.model in MODELS:
        model = named_model(options, layout.slots, len(features.numeric), len(features.labels))
    else:
        model = custom_model(options, features)
    rows = _rows(options, context, model)

    def learner() -> HostLoopLearner:
        optimizer = dense_optimizer(options.dense_optimizer, [one for one in model.variables if one.trainable])
        return HostLoopLearner(options.model, layout, model, rows, optimizer, options.reduction, options.threads)

    try:
        made, found = len(model.variables), learner()
        # Layers that only training calls were made as it was traced, and have to be trained too.
        return found if len(model.variables) == made else learner()
    except TrainingError as error:
        # Tracing it for any number of rows, which is more than trying it.
        raise fault("executor.model", error.message, error.hint) from error


def _rows(options: TensorflowOptions, context: ExecutorContext, model: Model) -> RowSource:
    """Rows of the host's table, or of a variable with `embedding: none`."""
    scale = 0.0 if isinstance(model, Logistic) else options.init_scale
    if context.tables is not None:
        return table_rows(context.tables, options, context.seed, model.width, scale)
    shape = [options.embedding_rows, model.width]
    first = tf.random.stateless_normal(shape, [context.seed % 2**63, 0], stddev=scale) if scale else tf.zeros(shape)
    weight = tf.Variable(first, name="weight")
    return LayerRows(weight, sparse_optimizer(options.optimizer, weight))
