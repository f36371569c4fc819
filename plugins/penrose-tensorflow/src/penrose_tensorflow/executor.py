"""The entry module: an executor that imports TensorFlow when it is set up, and not before."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penrose_host import Capability, ClusterSpec, ConfigError, Role, hookimpl
from penrose_host.executors import LateExecutor, LearnerParts
from penrose_tensorflow.keras_backend import other_backend
from penrose_tensorflow.options import TensorflowOptions

if TYPE_CHECKING:
    from penrose_host import ExecutorContext
    from penrose_tensorflow.learner import Learner

__all__ = ["TensorflowExecutor"]

#: What TensorFlow reads as it is imported, where the user's environment does not say: it prints what is wrong, not what
#: is well, and leaves out oneDNN, whose sums come in an order of its own and are not faster for models of this size.
_DEFAULTS = {"TF_CPP_MIN_LOG_LEVEL": "1", "TF_ENABLE_ONEDNN_OPTS": "0"}


class TensorflowExecutor(LateExecutor):
    """Trains a named model, or a Keras model of the user's, with TensorFlow."""

    api_version = 1
    Options = TensorflowOptions
    capabilities = frozenset({Capability.SINGLE_WORKER})
    default_embedding = "hashing"
    options_schema = "named-models"

    @hookimpl
    def role_environment(self, role: Role, index: int, cluster: ClusterSpec) -> Mapping[str, str]:
        """`TF_CONFIG`, which TensorFlow's `ClusterResolver` reads, and code that builds its own networking."""
        addresses = {str(r): list(a) for r, a in cluster.addresses.items() if r is not Role.EVALUATOR}
        task = {"type": str(role), "index": index}
        return {"TF_CONFIG": json.dumps({"cluster": addresses, "task": task}, sort_keys=True)}

    def build(self, context: ExecutorContext) -> LearnerParts:
        if importlib.util.find_spec("tensorflow") is None:
            raise ConfigError(
                [("executor", "TensorFlow is not installed")],
                hint="pip install 'penrose-tensorflow[cpu]' (with a GPU: 'penrose-tensorflow[gpu]')",
            )
        if (backend := os.environ.get("KERAS_BACKEND", "tensorflow")) != "tensorflow":
            raise other_backend(backend)
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        from penrose_tensorflow.building import build
        from penrose_tensorflow.state import restore, snapshot

        return LearnerParts(build(self.options, context), snapshot, restore, _export)


def _export(learner: Learner, directory: Path) -> None:
    """Write `saved_model/`, a SavedModel of stock operations, and `features.json`, which says what it takes."""
    from penrose_tensorflow.serving.export import export

    export(learner, directory)
