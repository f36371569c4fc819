"""What the native ops give back: an operation to run, or an error."""

from __future__ import annotations

import re
from typing import Any

import tensorflow as tf

__all__ = ["graph_operation", "op_message"]


def graph_operation(operation: Any) -> Any:
    """The operation in a graph of TensorFlow 1, where someone has to run it; None elsewhere."""
    return None if tf.compat.v1.executing_eagerly_outside_functions() else operation


def op_message(error: tf.errors.OpError) -> str:
    """What the op itself says, without where TensorFlow ran it."""
    return re.sub(r"^\{\{.*?\}\} | \[Op:.*$", "", error.message)
