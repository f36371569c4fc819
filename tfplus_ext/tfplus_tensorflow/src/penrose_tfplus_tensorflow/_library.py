"""The native ops, loaded into the TensorFlow that they were built with."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from penrose_tfplus_tensorflow import _built

__all__ = ["ops"]


def _load() -> ModuleType:
    """Raises ImportError where TensorFlow is missing, or of another minor version."""
    minor = ".".join(_built.VERSION.split(".")[:2])
    following = f"{minor.split('.')[0]}.{int(minor.split('.')[1]) + 1}"
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise ImportError(
            "penrose-tfplus-tensorflow needs TensorFlow, which is not installed; "
            "try: pip install 'penrose-tfplus-tensorflow[cpu]'"
        ) from error
    found = tf.version.VERSION
    if found.split(".")[:2] != minor.split("."):
        raise ImportError(
            f"penrose-tfplus-tensorflow was built with TensorFlow {_built.VERSION} and does not work with {found}; "
            f"try: pip install 'tensorflow-cpu>={minor},<{following}', or build penrose-tfplus-tensorflow anew"
        )
    library: ModuleType = tf.load_op_library(str(Path(_built.__file__).with_name("_ops.so")))
    return library


ops = _load()
