"""Variables by their name: who asks for the same one gets the same."""

from __future__ import annotations

import threading
from typing import Unpack

import tensorflow as tf

from penrose_tfplus_tensorflow.kv_variable import KvVariable
from penrose_tfplus_tensorflow.table_resource import KvVariableOptions

__all__ = ["forget_kv_variables", "get_kv_variable"]

#: Name → the width and options that it was first asked for with, and the variable.
_known: dict[str, tuple[tuple[int, KvVariableOptions], KvVariable]] = {}
_lock = threading.Lock()


def get_kv_variable(name: str, width: int, **options: Unpack[KvVariableOptions]) -> KvVariable:
    """The variable of this name, made with the options of `KvVariable` where this process has none yet.

    Raises ValueError, naming both, where there is one of another width, key dtype or options.
    """
    with _lock, tf.init_scope():
        if not tf.executing_eagerly():
            return KvVariable(name, width, **options)  # the graph itself shares tables by their name
        asked = width, options
        if name not in _known:
            _known[name] = asked, KvVariable(name, width, **options)
        before, known = _known[name]
        # Defaults may be written out the second time.
        if asked != before:
            other = KvVariable(name, width, **options)
            if other.identity != known.identity:
                raise ValueError(f"there is {known} already, and what is asked for is {other}")
        return known


def forget_kv_variables() -> None:
    """Forget every name. Variables that are still held go on."""
    with _lock:
        _known.clear()
