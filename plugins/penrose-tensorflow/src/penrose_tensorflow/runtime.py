"""What is set for the whole process before a model is built: device, threads, determinism, seeds."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from penrose_host import ConfigError
from penrose_host.executors import fault
from penrose_tensorflow.keras_backend import other_backend
from penrose_tensorflow.options import TensorflowOptions

__all__ = ["eager", "prepare"]

_OLDEST = "2.21"


def prepare(options: TensorflowOptions, seed: int) -> None:
    """Raises `ConfigError` where TensorFlow is too old, or runs already and was started in another way."""
    if _version(tf.__version__) < _version(_OLDEST):
        message = f"TensorFlow {tf.__version__} is too old: this needs {_OLDEST} or newer"
        raise ConfigError(
            [("executor", message)],
            hint="pip install -U 'penrose-tensorflow[cpu]' (with a GPU: 'penrose-tensorflow[gpu]')",
        )
    if keras.backend.backend() != "tensorflow":
        raise other_backend(keras.backend.backend())
    _device(options.device)
    _before_start("threads", f"{options.threads}", lambda: _threads(options.threads))
    tf.config.experimental.enable_op_determinism()
    # Seeds Python's and NumPy's generators too: Keras takes the seeds of layers from them.
    keras.utils.set_random_seed(seed % 2**32)


def eager(place: str, name: str) -> None:
    """Raises `ConfigError` where the user's module, now that it is imported, has switched TensorFlow to version 1."""
    if not tf.executing_eagerly():
        raise fault(
            place,
            f"the module of {name} makes all of TensorFlow behave as version 1",
            "take tf.disable_v2_behavior() and tf.disable_eager_execution() out: what tensorflow.compat.v1 has works "
            "without them",
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")[:2]))


def _threads(threads: int) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def _device(name: str) -> None:
    if name == "cpu":
        _before_start("device", name, lambda: tf.config.set_visible_devices([], "GPU"))
    elif name == "gpu" and not tf.config.get_visible_devices("GPU"):
        raise ConfigError([("executor.device", "TensorFlow finds no GPU")], hint="device: auto takes the CPU then")


def _before_start(option: str, value: str, change: Callable[[], None]) -> None:
    try:
        change()
    except RuntimeError as error:
        raise ConfigError(
            [(f"executor.{option}", f"TensorFlow runs already in this process, with another setting than {value}")],
            hint="set it before anything else uses TensorFlow, or give the job a process of its own",
        ) from error
