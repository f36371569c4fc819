"""A Keras model trained by the host's own loop: one compiled step that scores, checks and applies.

Each of the two functions is traced once, for any number of rows. They take flat tensors, made without a copy where
that is possible: what `RowSource.feed` gives; numeric [numbers, rows]; with list features the place [m] and the scale
[m, 1] of each of their values; and, to train, targets [heads, rows].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tensorflow as tf

from penrose_host import StepResult, TrainingError
from penrose_host.executors import Inputs, Layout
from penrose_tensorflow.host_loop.compiled import Compiled
from penrose_tensorflow.learner import Learner
from penrose_tensorflow.outputs import unknown_variables
from penrose_tensorflow.pooling import pooling, pooling_specs, slots
from penrose_tensorflow.random_operations import random_operations
from penrose_tensorflow.serving.servable import Servable
from penrose_tensorflow.tensors import tensor

if TYPE_CHECKING:
    import keras

    from penrose_host import EncodedBatch, Float32, StepInfo
    from penrose_tensorflow.embedding_rows import RowSource
    from penrose_tensorflow.host_loop.dense_optimizers import DenseOptimizer

__all__ = ["HostLoopLearner", "Model"]


class Model(Protocol):
    """Slots [rows, slots, width] and numbers [rows, numbers] to logits [rows, heads]."""

    width: int

    @property
    def variables(self) -> list[keras.Variable]: ...

    @property
    def losses(self) -> list[tf.Tensor]:
        """What regularizers add to the loss of the last call."""

    @property
    def kept(self) -> list[Any]:
        """All that scoring reads, to be tracked by an export."""

    def logits(self, slots: tf.Tensor, numeric: tf.Tensor, *, training: bool) -> tf.Tensor: ...


class HostLoopLearner(Learner):
    """A model, its embeddings and its optimizer. `reduction` of the loss over rows: sum or mean."""

    def __init__(
        self,
        name: str,
        layout: Layout,
        model: Model,
        rows: RowSource,
        optimizer: DenseOptimizer | None,
        reduction: str,
        threads: int = 1,
    ) -> None:
        self.name = name
        self.layout = layout
        self.model = model
        self.rows = rows
        self.optimizer = optimizer
        self.heads = layout.features.labels
        self.mean = reduction == "mean"
        self._dense = [variable for variable in model.variables if variable.trainable]
        # What changes while a step is worked out: moving averages, generators of dropout.
        self._moving = [variable.value for variable in model.variables if not variable.trainable]
        numeric = tf.TensorSpec([len(layout.features.numeric), None], tf.float32)
        pooled = pooling_specs(layout)
        targets = tf.TensorSpec([len(self.heads), None], tf.float32)
        #: How often each function was traced; once, whatever comes.
        self.traces = {"predict": 0, "train": 0}
        inline = threads == 1 and not tf.config.get_visible_devices("GPU")
        self._predict = Compiled(name, self._score, rows.spec, numeric, *pooled, inline=inline)
        self._train = Compiled(name, self._step, rows.spec, numeric, targets, *pooled, inline=inline)
        known = [variable for part in self.parts().values() for variable in part.values()]
        if optimizer is not None:
            known += optimizer.variables
        if unknown := unknown_variables(self._train.traced.graph, known):
            raise TrainingError(
                f"the model of {name} uses variables that Keras does not know, nor a checkpoint: {unknown}",
                hint="make them with add_weight, draw from a keras.random.SeedGenerator, and assign both, and layers, "
                "to attributes of the model",
            )
        if drawing := set().union(*random_operations(self._train.traced)):
            raise TrainingError(
                f"the model of {name} draws with {', '.join(sorted(drawing))}, whose state no checkpoint can hold",
                hint="draw with keras.random, from a keras.random.SeedGenerator that is an attribute of a layer",
            )

    def predict(self, batch: EncodedBatch) -> Mapping[str, Float32]:
        inputs = self.layout.inputs(batch)
        fed = tensor(self.rows.feed(inputs.keys, train=False))
        (scores,) = self._predict(fed, tensor(inputs.numeric.T), *self._pooling(inputs))
        return self._by_head(scores)

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        targets = self.layout.targets(batch)
        if np.isnan(targets).all():
            return StepResult(dict.fromkeys(self.heads, 0.0), self.predict(batch))
        inputs = self.layout.inputs(batch)
        fed = tensor(self.rows.feed(inputs.keys, train=True))
        losses, scores, gradient, finite = self._train(
            fed, tensor(inputs.numeric.T), tensor(targets.T), *self._pooling(inputs)
        )
        applied = bool(finite)
        if applied and self._embeds:
            self.rows.apply(inputs.keys, gradient, step)
        return StepResult(dict(zip(self.heads, losses.numpy().tolist(), strict=True)), self._by_head(scores), applied)

    def parts(self) -> Mapping[str, Mapping[str, tf.Variable]]:
        # By place, too: Keras numbers its layers by what else the process has built.
        parts = {"model": {f"{at}.{one.name}": one.value for at, one in enumerate(self.model.variables)}}
        if self.optimizer is not None:
            parts["optimizer"] = {str(at): variable for at, variable in enumerate(self.optimizer.state)}
        return {**parts, **self.rows.parts()}

    # -- in the graph ----------------------------------------------------------------------------

    def _score(self, fed: tf.Tensor, numeric: tf.Tensor, *pooled: tf.Tensor) -> tuple[tf.Tensor]:
        self.traces["predict"] += 1
        given = slots(self.layout, self.rows.embedded(fed), tf.shape(numeric)[1], pooled)
        return (tf.transpose(tf.sigmoid(self.model.logits(given, tf.transpose(numeric), training=False))),)

    def _step(self, fed: tf.Tensor, numeric: tf.Tensor, targets: tf.Tensor, *pooled: tf.Tensor) -> tuple[Any, ...]:
        self.traces["train"] += 1
        before = [tf.identity(variable) for variable in self._moving]
        embedded = self.rows.embedded(fed)
        labels = tf.transpose(targets)
        known = tf.math.logical_not(tf.math.is_nan(labels))
        counts = tf.maximum(tf.reduce_sum(tf.cast(known, tf.float32), 0), 1.0)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([embedded, *(variable.value for variable in self._dense)])
            given = slots(self.layout, embedded, tf.shape(numeric)[1], pooled)
            logits = self.model.logits(given, tf.transpose(numeric), training=True)
            each = tf.nn.sigmoid_cross_entropy_with_logits(tf.where(known, labels, 0.0), logits)
            losses = tf.reduce_sum(tf.where(known, each, 0.0), 0)
            means = losses / counts
            loss = tf.add_n([tf.reduce_sum(means if self.mean else losses), *self.model.losses])
        gradient, *found = tape.gradient(loss, [embedded, *(variable.value for variable in self._dense)])
        # A model need use neither the embeddings nor all of its variables.
        self._embeds = gradient is not None
        pairs = zip(found, self._dense, strict=True)
        dense = [(tf.convert_to_tensor(value), variable) for value, variable in pairs if value is not None]
        checked = [means, *([gradient] if self._embeds else []), *(value for value, _ in dense)]
        finite = tf.reduce_all(tf.stack([tf.reduce_all(tf.math.is_finite(value)) for value in checked]))
        gradient = tf.convert_to_tensor(gradient) if self._embeds else tf.zeros_like(embedded)

        def apply() -> tf.Tensor:
            if self._embeds:
                self.rows.update(fed, gradient)
            if self.optimizer is not None:
                self.optimizer.apply([value for value, _ in dense], [variable for _, variable in dense])
            return tf.constant(True)

        def leave() -> tf.Tensor:
            for variable, value in zip(self._moving, before, strict=True):
                variable.assign(value)
            return tf.constant(False)

        applied = tf.cond(finite, apply, leave)
        return means, tf.transpose(tf.sigmoid(logits)), gradient, applied

    # -- around it -------------------------------------------------------------------------------

    def _pooling(self, inputs: Inputs) -> list[tf.Tensor]:
        return [tensor(array) for array in pooling(self.layout, inputs)]

    def _by_head(self, scores: tf.Tensor) -> dict[str, Float32]:
        return dict(zip(self.heads, scores.numpy(), strict=True))

    def identity(self) -> Mapping[str, Any]:
        optimizers = {} if self.optimizer is None else {"optimizer": self.optimizer.name}
        return {"model": self.name, "optimizers": {**optimizers, **self.rows.identity()}}

    def serving(self) -> tf.Module:
        def logits(given: tf.Tensor, numeric: tf.Tensor) -> tf.Tensor:
            return self.model.logits(given, numeric, training=False)

        return Servable(self.layout.features, self.rows.exported(), logits, self.model.kept)
