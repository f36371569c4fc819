from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tensorflow as tf
from executor_suite.exports import Scored
from executor_suite.lab import Lab
from tensorflow_exports import loaded

from penrose_tensorflow.executor import TensorflowExecutor

# TensorFlow takes these before its first operation only, whichever test that is in.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab("tensorflow", TensorflowExecutor)
    yield made
    made.close()


@pytest.fixture
def served() -> Callable[[Path], Scored]:
    return loaded
