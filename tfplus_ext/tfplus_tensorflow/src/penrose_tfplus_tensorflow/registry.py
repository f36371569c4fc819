"""Variables by their name: who asks for the same one gets the same."""

from __future__ import annotations

import threading
from typing import Any

import tensorflow as tf

from penrose_tfplus_tensorflow.kv_variable import KvVariable

__all__ = ["forget_kv_variables", "get_kv_variable"]

_known: dict[str, KvVariable] = {}
_lock = threading.Lock()


def get_kv_variable(name: str, width: int, **options: Any) -> KvVariable:
    """The variable of this name, made with the options of `KvVariable` where this process has none yet.

    Raises ValueError, naming both, where there is one of another width, key dtype or options.
    """
    with _lock, tf.init_scope():
        if not tf.executing_eagerly():
            return KvVariable(name, width, **options)  # the graph itself shares tables by their name
        known = _known.get(name)
        asked = KvVariable(name, width, **options)
        if known is None:
            _known[name] = known = asked
        elif known.identity != asked.identity:
            raise ValueError(f"there is {known} already, and what is asked for is {asked}")
        return known


def forget_kv_variables() -> None:
    """Forget every name. Variables that are still held go on."""
    with _lock:
        _known.clear()
