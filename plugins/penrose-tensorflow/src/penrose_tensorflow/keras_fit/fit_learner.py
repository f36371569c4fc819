"""Keras `fit`, or a function of the user's around it, as the training loop: fed and acknowledged batch by batch."""

from __future__ import annotations

import gc
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from penrose_host import ConfigError, StepResult, TrainingError
from penrose_host.executors import Layout, OwnedLoop, fault, function
from penrose_tensorflow.failures import failed, raised, said
from penrose_tensorflow.keras_fit.checked_step import check_step
from penrose_tensorflow.layers import held_by_layers, kept
from penrose_tensorflow.learner import Learner, Stateful
from penrose_tensorflow.named_columns import NamedColumns, NamedServing, taken
from penrose_tensorflow.options import TensorflowOptions
from penrose_tensorflow.outputs import by_head, described, finite, log_losses, stacked, unknown_variables
from penrose_tensorflow.runtime import eager
from penrose_tensorflow.tensors import tensor

if TYPE_CHECKING:
    from penrose_host import EncodedBatch, FeatureSpec, Float32, StepInfo

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["FitLearner"]

_MODEL, _LOOP = "executor.model", "executor.loop"
#: What TensorFlow accepts as the name of a scope, less the slash, which Keras refuses.
_SCOPE = re.compile(r"[A-Za-z0-9_.\\>-]+")
#: What `TrainsTables` of the TensorFlow face stops `fit` with.
_NOT_FINITE = "a gradient is not finite: lower the learning rate"


class _Batch(NamedTuple):
    """What is handed to `fit`: the arrays of `NamedColumns`; labels and weights, float32 [heads, rows]."""

    columns: tuple[Array, ...]
    labels: Array
    weights: Array


class FitLearner(Learner):
    """A compiled Keras model that `fit` trains, one step for each batch that the host hands over."""

    def __init__(self, options: TensorflowOptions, features: FeatureSpec) -> None:
        """Raises `ConfigError`, naming the user's function, for whatever is wrong with what it returns."""
        self.name = options.model
        self.layout = Layout(features)
        self.heads = features.labels
        self.columns = NamedColumns(features, _MODEL)
        self.threads = options.threads
        self.model = _model(options, features)
        outputs = self._built()
        self._labels_by_name = isinstance(outputs, Mapping)
        self._run: Callable[..., object] = _fit if options.loop == "fit" else function(_LOOP, options.loop)
        self._loop: OwnedLoop[_Batch, bool] = OwnedLoop(
            self._train,
            name=f"fit of {options.model}" if options.loop == "fit" else options.loop,
            timeout=options.loop_timeout,
            hint="give `fit` the callbacks as they are and the dataset in its order (no shuffle, batch or take), for "
            "one epoch of as many steps as there are; a step may take `loop_timeout` seconds",
        )

    # -- what the host asks -----------------------------------------------------------------------

    def predict(self, batch: EncodedBatch) -> Mapping[str, Float32]:
        try:
            columns = self._score(*(tensor(array) for array in self.columns.arrays(batch))).numpy()
        except tf.errors.OpError as error:
            raise failed(self.name, error) from error
        return by_head(columns, self.heads, len(batch), self._not_probabilities)

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:  # noqa: ARG002 - all state is this process's
        scores = self.predict(batch)
        targets = self.layout.targets(batch)
        losses = log_losses(scores, targets)
        known = ~np.isnan(targets)
        rows: Any = known.any(axis=1)
        if not rows.any():
            return StepResult(losses, scores)
        if not np.isfinite(list(losses.values())).all():
            return StepResult(losses, scores, applied=False)
        labelled = self.columns.arrays(taken(batch, rows))
        labels, weights = np.where(known, targets, np.float32(0)), known.astype(np.float32)
        self._before = [(variable, variable.value()) for variable in self._variables()]
        applied = self._loop.submit(_Batch(labelled, labels[rows].T, weights[rows].T))
        return StepResult(losses, scores, applied)

    def parts(self) -> Mapping[str, Mapping[str, tf.Variable]]:
        # By number: the names that Keras gives depend on what else was built.
        parts = {"model": self.model.variables, "optimizer": self.model.optimizer.variables}
        return {part: {str(at): kept.value for at, kept in enumerate(found)} for part, found in parts.items()}

    def tables(self) -> Mapping[str, Stateful]:
        """Those of the model's layers that live in memory of their own."""
        found: dict[int, Stateful] = {}
        for held in held_by_layers(self.model):
            if callable(getattr(held, "state", None)) and callable(getattr(held, "load_state", None)):
                found[id(held)] = held
        return {str(place): table for place, table in enumerate(found.values())}

    def identity(self) -> Mapping[str, Any]:
        return {"model": self.name, "loop": "fit", "optimizer": type(self.model.optimizer).__name__}

    def serving(self) -> tf.Module:
        # Not the model itself: Keras would export it too, with a signature of its own.
        frozen = [table.frozen() for table in self.tables().values()]
        return NamedServing(self.columns, self._scores, kept(self.model), frozen)

    def close(self) -> None:
        self._loop.close()

    # -- the trainer's side, on its thread ---------------------------------------------------------

    def _train(self, loop: OwnedLoop[_Batch, bool]) -> None:
        fed = self._dataset(loop)
        try:
            self._run(self.model, fed, [_Acknowledging(loop, self.model, self._settled)])
        except BaseException as error:
            _without_locals(error)
            if not isinstance(error, tf.errors.OpError):
                raise
            if _NOT_FINITE in str(error):
                raise self._not_finite() from None
            raise type(error)(error.node_def, error.op, said(error)) from error
        finally:
            # Keras leaves its iterators in reference cycles. They have to go before what they read, or TensorFlow
            # fills the log; then that goes, which an error would keep with this frame.
            gc.collect()
            del fed

    def _dataset(self, loop: OwnedLoop[_Batch, bool]) -> tf.data.Dataset:
        heads = tf.TensorSpec([len(self.heads), None], tf.float32)

        def pulled() -> Iterator[tuple[Any, ...]]:
            yield from loop.batches()

        def named(columns: Sequence[tf.Tensor], labels: tf.Tensor, weights: tf.Tensor) -> tuple[Any, Any, Any]:
            return self.columns.by_name(columns), self._by_head(labels), self._by_head(weights)

        dataset = tf.data.Dataset.from_generator(pulled, output_signature=(self.columns.specs, heads, heads))
        options = tf.data.Options()
        options.deterministic = True
        # Threads of its own: one of them waits for the next batch, while TensorFlow's train this one.
        options.threading.private_threadpool_size = self.threads + 1
        return dataset.map(named).with_options(options)

    def _by_head(self, columns: tf.Tensor) -> Any:
        return {head: columns[at] for at, head in enumerate(self.heads)} if self._labels_by_name else columns[0]

    def _settled(self, logs: Mapping[str, Any]) -> bool:
        """After a step: whether all is finite. Where it is not, the model is as it was before; raises `TrainingError`
        where it has tables, which cannot be put back."""
        before, self._before = self._before, []
        if np.isfinite(logs.get("loss", 0.0)) and bool(self._finite()):
            return True
        if self.tables():
            raise self._not_finite()
        for variable, value in before:
            variable.assign(value)
        return False

    # -- inside -----------------------------------------------------------------------------------

    def _variables(self) -> list[tf.Variable]:
        metrics = [kept.value for kept in self.model.metrics_variables]
        return [variable for part in self.parts().values() for variable in part.values()] + metrics

    def _known(self) -> list[Any]:
        """What a checkpoint holds, and metrics: nothing that is learned depends on them."""
        known: list[Any] = self._variables()
        for table in self.tables().values():
            known += [held for held in (table, *vars(table).values()) if hasattr(held, "handle")]
        return known

    def _scores(self, *tensors: tf.Tensor) -> tf.Tensor:
        found = self.model(self.columns.by_name(tensors), training=False)
        columns = stacked(found, self.heads)
        if columns is None:
            raise self._not_expected(found)
        return columns

    def _training(self, *tensors: tf.Tensor) -> Any:
        return self.model(self.columns.by_name(tensors), training=True)

    def _built(self) -> Any:
        """Make all variables; what the model returns."""
        inputs = self.columns.by_name(self.columns.example())
        try:
            outputs = self.model(inputs, training=False)
            self._check(outputs)
            # Traced here and now, for any number of rows. (Keras too keeps AutoGraph out of its steps.)
            self._score = tf.function(self._scores, autograph=False).get_concrete_function(*self.columns.specs)
            if not self.model.run_eagerly:
                # Makes the variables that only training makes.
                tf.function(self._training, autograph=False).get_concrete_function(*self.columns.specs)
        except ConfigError:
            raise
        except Exception as error:
            raise fault(
                _MODEL,
                f"the model of {self.name} raised {raised(error)}",
                f"its input has {', '.join(inputs)}",
            ) from error
        if unknown := unknown_variables(self._score.graph, self._known()):
            raise fault(
                _MODEL,
                f"the model of {self.name} reads variables that Keras does not know, nor a checkpoint: {unknown}",
                "make them with add_weight, and assign layers to attributes of the model",
            )
        self.model.optimizer.build(self.model.trainable_variables)
        kept = [variable for part in self.parts().values() for variable in part.values()]
        self._finite = finite(kept)
        self._check_tables()
        check_step(self.model, self.name, self._known)
        return outputs

    def _check(self, outputs: Any) -> None:
        odd = [head for head in self.heads if not _SCOPE.fullmatch(head)]
        if odd and isinstance(outputs, Mapping) and self.model.loss is not None:
            raise fault(
                _MODEL,
                f"Keras cannot name the loss of a label {odd[0]!r}, which the model of {self.name} returns a dict for",
                "give the label a name of ASCII letters, digits and _ . - in the job",
            )
        if stacked(outputs, self.heads) is None or (len(self.heads) > 1 and not isinstance(outputs, Mapping)):
            raise self._not_expected(outputs)

    def _not_expected(self, outputs: Any) -> ConfigError:
        several = len(self.heads) > 1
        expected = f"a dict of {', '.join(self.heads)}, each" if several else "probabilities:"
        given = f"the model of {self.name} returned {described(outputs)}"
        return fault(_MODEL, f"{given}; expected is {expected} floats [rows] or [rows, 1]")

    def _check_tables(self) -> None:
        """Keras differentiates its own variables, and would leave tables that take gradients at their first rows."""
        keras_own = type(self.model).train_step is keras.Model.train_step
        if keras_own and any(hasattr(table, "apply_gradients") for table in self.tables().values()):
            raise fault(
                _MODEL,
                f"the model of {self.name} has tables in its layers that Keras's own training step never trains",
                "make it a penrose_tfplus_tensorflow.Model, or put TrainsTables before keras.Model among its bases",
            )

    def _not_finite(self) -> TrainingError:
        return TrainingError(
            f"a training step of {self.name} is not finite, and tables in its layers cannot be put back",
            hint="lower the learning rate, or look at the data; a resumed run goes on from the last checkpoint",
        )

    def _not_probabilities(self, what: str) -> TrainingError:
        return TrainingError(
            f"the model of {self.name} gave {what}",
            hint="it has to return probabilities: end it with a sigmoid, and compile it with from_logits=False",
        )


class _Acknowledging(keras.callbacks.Callback):  # type: ignore[misc]
    """Acknowledges each batch as Keras says that it is trained, and holds `fit` there until the next one comes."""

    def __init__(
        self, loop: OwnedLoop[_Batch, bool], trained: keras.Model, settled: Callable[[Mapping[str, Any]], bool]
    ) -> None:
        super().__init__()
        self._loop = loop
        self._trained = trained
        self._settled = settled
        self._begun = False

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        if self.model is not self._trained:
            raise TrainingError(
                f"{self._loop.name} trains another model than the one it was given, which no checkpoint holds",
                hint="call `fit` of the model that the loop gets",
            )

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        if self._begun:
            raise TrainingError(
                f"{self._loop.name} began batch {batch + 1} before the one before it had ended",
                hint="pass the callbacks to `fit` once, as they are",
            )
        self._begun = True

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:  # noqa: ARG002
        self._begun = False
        if not self._loop.acknowledge(self._settled(logs or {})) and self.model is not None:
            # Rather than run out of data, which Keras warns of. (A loop of `train_on_batch` gives callbacks no model.)
            self.model.stop_training = True


def _without_locals(error: BaseException) -> None:
    """Clear the variables of the frames that an error came through, which it would keep: iterators of the loop."""
    seen: BaseException | None = error
    while seen is not None:
        for frame, _ in traceback.walk_tb(seen.__traceback__):
            _clear(frame)
        seen = seen.__cause__ or seen.__context__


def _clear(frame: FrameType | None) -> None:
    # Keras takes its own frames out of tracebacks; those that are left still lead to them.
    while frame is not None:
        try:
            frame.clear()
        except RuntimeError:
            return  # It is running, and so are all that it was called from.
        frame = frame.f_back


def _fit(model: keras.Model, dataset: tf.data.Dataset, callbacks: list[keras.callbacks.Callback]) -> None:
    model.fit(dataset, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)


def _model(options: TensorflowOptions, features: FeatureSpec) -> keras.Model:
    """What the user's function returns, if it can be trained. Raises `ConfigError`."""
    make = function(_MODEL, options.model)
    eager(_MODEL, options.model)
    try:
        model = make(features, width=options.width, **options.model_options)
    except Exception as error:
        raise fault(
            _MODEL,
            f"{options.model} raised {raised(error)}",
            "it is called as function(features, width=…, **model_options)",
        ) from error
    if not isinstance(model, keras.Model):
        raise fault(_MODEL, f"{options.model} returned a {type(model).__name__}, not a keras.Model")
    if not model.compiled or model.optimizer is None:
        raise fault(
            _MODEL,
            f"the model that {options.model} returned is not compiled",
            "with `loop: fit` it brings its optimizer and loss: model.compile(optimizer=…, loss=…)",
        )
    if model.steps_per_execution != 1:
        raise fault(
            _MODEL,
            f"the model that {options.model} returned does {model.steps_per_execution} steps at once",
            "each batch is trained before the next one comes: compile it with steps_per_execution=1",
        )
    return model
