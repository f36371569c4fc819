"""What an executor trains with: one way to score, to step, to save, to restore and to serve."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import tensorflow as tf

from penrose_host.executors import Layout

if TYPE_CHECKING:
    from penrose_host import EncodedBatch, Float32, StepInfo, StepResult

__all__ = ["Learner", "Stateful"]


class Stateful(Protocol):
    """State that is not in variables: a table of the user's model that lives in its own memory.

    With `check_state(state)`, which raises ValueError where `load_state` would, a checkpoint that does not fit it
    changes nothing in the rest of the model.
    """

    def state(self) -> dict[str, tf.Tensor]: ...

    def load_state(self, state: Mapping[str, tf.Tensor]) -> None: ...

    def frozen(self) -> AbstractContextManager[Any]:
        """A copy in stock variables, to be tracked by what is saved; while it is entered, it is read instead."""


class Learner(ABC):
    """A model that learns, called `name` in checkpoints and exports."""

    name: str
    layout: Layout

    @abstractmethod
    def predict(self, batch: EncodedBatch) -> Mapping[str, Float32]:
        """head → probabilities, float32 [rows]."""

    @abstractmethod
    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        """One step on the rows that have labels; nothing changes where a loss or a gradient is not finite."""

    @abstractmethod
    def parts(self) -> Mapping[str, Mapping[str, tf.Variable]]:
        """part → name → variable: all dense state, in a stable order. Names do not depend on what else was built."""

    def tables(self) -> Mapping[str, Stateful]:
        """State that is neither in `parts` nor in tables of the host."""
        return {}

    def identity(self) -> Mapping[str, Any]:
        """What must be equal in a checkpoint, beside names, types and shapes; JSON."""
        return {"model": self.name}

    @abstractmethod
    def serving(self) -> tf.Module:
        """The model as a function of (ids, numeric, lists): see `servable`. All that it reads is tracked by it."""

    def close(self) -> None:  # noqa: B027 - optional
        """Let go of threads and files. May be called twice."""
