"""The contract of executors."""

from penrose_host.testing.executors.runs import RunPromises
from penrose_host.testing.executors.scores import ScorePromises
from penrose_host.testing.executors.states import StatePromises
from penrose_host.testing.executors.training import TrainingPromises

__all__ = ["ExecutorContract"]


class ExecutorContract(RunPromises, StatePromises, TrainingPromises, ScorePromises):
    """Derive a test class from it, and return your executor from `make`."""
