"""Estimator-style code: a `model_fn` that builds loss, predictions and train op in a graph, as TensorFlow 1 did."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from penrose_host import ConfigError, StepResult, TrainingError
from penrose_host.executors import Layout, fault, function
from penrose_tensorflow.failures import failed, raised
from penrose_tensorflow.learner import Learner
from penrose_tensorflow.model_fn.embedded_columns import EmbeddedColumns
from penrose_tensorflow.model_fn.estimator import EstimatorSpec, ModeKeys
from penrose_tensorflow.model_fn.layer_updates import updates_of_layers
from penrose_tensorflow.model_fn.shared_variables import SharedVariables
from penrose_tensorflow.named_columns import NamedColumns, NamedServing, taken
from penrose_tensorflow.outputs import by_head, described, finite, log_losses, stacked, unknown_variables
from penrose_tensorflow.random_operations import kinds, random_operations, with_counted_draws
from penrose_tensorflow.runtime import eager
from penrose_tensorflow.serving.servable import Servable
from penrose_tensorflow.tensors import tensor

if TYPE_CHECKING:
    from penrose_host import EncodedBatch, FeatureSpec, Float32, StepInfo
    from penrose_tensorflow.embedding_rows import TableRows
    from penrose_tensorflow.options import TensorflowOptions

__all__ = ["ModelFnLearner"]

_PLACE = "executor.model_fn"


class ModelFnLearner(Learner):
    """Two graphs of the user's `model_fn` over the same variables: one step to train, one to score."""

    def __init__(self, options: TensorflowOptions, features: FeatureSpec, rows: TableRows | None) -> None:
        """`rows`: of the host's table; None: ids go to the function as they are. Raises `ConfigError`, naming it."""
        assert options.model_fn is not None
        self.name = options.model_fn
        self.layout = Layout(features)
        self.heads = features.labels
        self.rows = rows
        self.columns: EmbeddedColumns | NamedColumns = (
            NamedColumns(features, _PLACE) if rows is None else EmbeddedColumns(self.layout, rows)
        )
        self._function = function(_PLACE, options.model_fn)
        eager(_PLACE, options.model_fn)
        self._params = dict(options.model_options)
        self._shared = SharedVariables()
        self._steps = tf.Variable(0, dtype=tf.int64, trainable=False, name="steps")
        targets = tf.TensorSpec([len(self.heads), None], tf.float32, "targets")
        self._step = self._drawing(self._traced(self._train_graph, [*self.columns.specs, targets]))
        self._probabilities = self._traced(self._predict_graph, [*self.columns.specs])
        if found := set().union(*random_operations(self._probabilities)):
            raise self._fault(f"draws random numbers where it predicts ({', '.join(sorted(found))})")
        self._variables = list(self._shared.variables.values())
        self._finite = finite(self._variables)

    # -- what the host asks -----------------------------------------------------------------------

    def predict(self, batch: EncodedBatch) -> Mapping[str, Float32]:
        try:
            found = self._probabilities(*map(tensor, self.columns.arrays(batch))).numpy()
        except tf.errors.OpError as error:
            raise failed(self.name, error) from error
        return by_head(found, self.heads, len(batch), self._not_probabilities)

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        # Not the scores of the training graph: in one like it, what is read may have been updated already.
        scores = self.predict(batch)
        targets = self.layout.targets(batch)
        losses = log_losses(scores, targets)
        rows: Any = (~np.isnan(targets)).any(axis=1)
        if not rows.any():
            return StepResult(losses, scores)
        if not all(map(math.isfinite, losses.values())):
            return StepResult(losses, scores, applied=False)
        labelled = taken(batch, rows)
        columns = self.columns.arrays(labelled, train=True)
        before = [variable.value() for variable in self._variables]
        try:
            loss, *gradient = self._step(*map(tensor, columns), tensor(self.layout.targets(labelled).T))
        except tf.errors.OpError as error:
            raise failed(self.name, error) from error
        checks = [math.isfinite(loss.numpy()), bool(self._finite())]
        checks += [bool(np.isfinite(each.numpy()).all()) for each in gradient]
        if not all(checks):
            for variable, value in zip(self._variables, before, strict=True):
                variable.assign(value)
            return StepResult(losses, scores, applied=False)
        self._steps.assign_add(1)
        if gradient and self.rows is not None and isinstance(self.columns, EmbeddedColumns):
            self.rows.apply(self.columns.keys, gradient[0], step)
        return StepResult(losses, scores)

    def parts(self) -> Mapping[str, Mapping[str, tf.Variable]]:
        return {"variables": self._shared.variables, "random": {"steps": self._steps}}

    def identity(self) -> Mapping[str, Any]:
        return {"model_fn": self.name}

    def serving(self) -> tf.Module:
        if isinstance(self.columns, NamedColumns):
            return NamedServing(self.columns, self._probabilities, self._variables)
        assert self.rows is not None
        columns = self.columns

        def logits(slots: tf.Tensor, numeric: tf.Tensor) -> tf.Tensor:
            found = self._probabilities(*columns.tensors(slots, numeric))
            return tf.math.log(found) - tf.math.log1p(-found)

        return Servable(self.layout.features, self.rows.exported(), logits, self._variables)

    # -- the graphs -------------------------------------------------------------------------------

    def _traced(self, build: Callable[..., Any], specs: Sequence[tf.TensorSpec]) -> Any:
        def graph(*tensors: tf.Tensor) -> Any:
            with self._shared.graph():
                tf.compat.v1.train.create_global_step()
                return build(*tensors)

        try:
            traced = tf.compat.v1.wrap_function(graph, specs)
        except ConfigError:
            raise
        except Exception as error:
            hint = "it is called as (features, labels, mode, params); params are `model_options`"
            raise self._fault(f"raised {raised(error)}", hint) from error
        if any(kind.startswith("LookupTable") for kind in kinds(traced.graph)):
            raise self._fault(
                "uses lookup tables, which nobody initializes here",
                "look values up in a tensor (tf.gather, tf.searchsorted), or let the job's features do it",
            )
        if unknown := unknown_variables(traced.graph, self._shared.variables.values()):
            raise self._fault(
                f"reads variables that were made outside of it, and no checkpoint holds: {unknown}",
                "make them inside, with tf.compat.v1.get_variable",
            )
        return traced

    def _drawing(self, traced: Any) -> Any:
        """The same with random operations that repeat from a checkpoint on."""
        replaced, others = random_operations(traced)
        if others:
            raise self._fault(
                f"uses random operations whose state no checkpoint can hold: {', '.join(sorted(others))}",
                "use tf.random.stateless_… with tf.compat.v1.train.get_global_step() as the seed",
            )
        return with_counted_draws(traced, self._steps) if replaced else traced

    def _train_graph(self, *tensors: tf.Tensor) -> list[tf.Tensor]:
        *columns, targets = tensors
        labels = targets[0] if len(self.heads) == 1 else {head: targets[at] for at, head in enumerate(self.heads)}
        with updates_of_layers() as updates:
            spec = self._spec(columns, labels, ModeKeys.TRAIN)
        loss, train_op = spec.loss, spec.train_op
        if not tf.is_tensor(loss) or not loss.dtype.is_floating or loss.shape.rank not in (0, None):
            raise self._fault(f"returned {described(loss)} as `loss` in TRAIN; expected is a float without dimensions")
        if not isinstance(train_op, (tf.Operation, tf.Tensor, tf.Variable)):
            raise self._fault(
                f"returned {described(train_op)} as `train_op` in TRAIN; expected is an operation",
                "an optimizer of tf.compat.v1.train gives one: .minimize(loss, global_step=…)",
            )
        gradient = [] if self.rows is None else tf.gradients(loss, columns[:1])
        with tf.control_dependencies([train_op, *updates]):
            return [tf.identity(loss), *(tf.convert_to_tensor(rows) for rows in gradient if rows is not None)]

    def _predict_graph(self, *tensors: tf.Tensor) -> tf.Tensor:
        made = len(self._shared.variables)
        predictions = self._spec(tensors, None, ModeKeys.PREDICT).predictions
        if more := list(self._shared.variables)[made:]:
            raise self._fault(
                f"makes variables in PREDICT that it does not make in TRAIN: {', '.join(more)}",
                "variables are shared by name: give layers names, and build the same model in both modes; instead of "
                "a Dropout layer, whose generator has no name, use tf.nn.dropout",
            )
        given = predictions
        if isinstance(predictions, Mapping) and "probabilities" in predictions:
            given = predictions["probabilities"]
            if len(self.heads) == 1 and tf.is_tensor(given) and given.shape.rank == 2 and given.shape[1] == 2:
                given = given[:, 1]  # of the classes 0 and 1
        found = stacked(given, self.heads)
        if found is None:
            heads = len(self.heads)
            raise self._fault(
                f"returned {described(predictions)} as `predictions` in PREDICT; expected is a dict with "
                f"`probabilities`, floats [rows, {heads}]{' or [rows]' if heads == 1 else ''}, or with "
                f"{', '.join(self.heads)}, floats [rows]{' each' if heads > 1 else ''}"
            )
        return found

    def _spec(self, columns: Sequence[tf.Tensor], labels: Any, mode: str) -> EstimatorSpec:
        given = {"features": self.columns.by_name(columns), "labels": labels, "mode": mode, "params": self._params}
        given["config"] = None  # of tf.estimator, for functions that still name it
        accepted = inspect.signature(self._function).parameters
        spec = self._function(**{name: value for name, value in given.items() if name in accepted})
        if not isinstance(spec, EstimatorSpec):
            raise self._fault(
                f"returned a {type(spec).__name__} in {mode!r}, not an EstimatorSpec",
                "from penrose_tensorflow.model_fn.estimator import EstimatorSpec",
            )
        return spec

    # -- inside -----------------------------------------------------------------------------------

    def _fault(self, what: str, hint: str | None = None) -> ConfigError:
        return fault(_PLACE, f"{self.name} {what}", hint)

    def _not_probabilities(self, what: str) -> TrainingError:
        return TrainingError(f"{self.name} gave {what}", hint="its predictions have to be probabilities, not logits")
