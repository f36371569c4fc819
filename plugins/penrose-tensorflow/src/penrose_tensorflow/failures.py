"""What TensorFlow raises while it runs, as the host tells it."""

from __future__ import annotations

import re

import tensorflow as tf

from penrose_host import TrainingError

__all__ = ["failed", "raised", "said"]

#: What TensorFlow puts around what an operation said: which node of which function it was.
_NODES = re.compile(r"\s*\[\[\{\{.*?\}\}\]\]|\s*\[Op:[^\]]*\]|^\{\{.*?\}\} ")


def failed(name: str, error: tf.errors.OpError) -> TrainingError:
    """To be raised in its place: it names the model. (No context manager: steps of a few rows would feel it.)"""
    return TrainingError(f"TensorFlow failed in the model {name}: {said(error)}")


def said(error: tf.errors.OpError) -> str:
    """What the operation said. Before it stands, for some, where each of the lines of Python is that led to it."""
    last = error.message.rstrip().rpartition("\n\n")[2].rpartition("<stack traces unavailable>\n")[2]
    return _NODES.sub("", last).strip() or error.message


def raised(error: Exception) -> str:
    """What was raised, without what Keras puts around it: the arguments, and codes of a terminal."""
    bold = re.search(r"\x1b\[1m(.*?)\x1b\[0m", str(error.args[0] if error.args else error), re.DOTALL)
    return f"{type(error).__name__}: {bold[1] if bold else error}"
