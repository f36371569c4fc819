"""Tables as stock TensorFlow reads them: keys and rows in variables, found by binary search."""

from __future__ import annotations

import threading
from types import TracebackType

import tensorflow as tf

__all__ = ["FrozenTable", "frozen_now"]


class _Now(threading.local):
    """Table → what stands for it, the last one entered last; of each thread its own."""

    def __init__(self) -> None:
        self.standing: dict[object, list[FrozenTable]] = {}


_now = _Now()


class FrozenTable(tf.Module):
    """The rows of a `KvVariable` at one instant: keys of any shape → float32 [..., width], zeros for all others.

    Within `with kv.frozen():` whatever reads the variable on this thread reads this instead. What is traced there
    needs none of the native ops: a SavedModel of it is one that any TensorFlow loads, if it tracks this object. A
    function that was traced there goes on reading this afterwards, too.
    """

    def __init__(self, name: str, keys: tf.Tensor, rows: tf.Tensor, of: object) -> None:
        """`of`: what `frozen_now` is asked for."""
        super().__init__()
        self._table, self._of = name, of
        if not len(keys):
            # One key that reads as all others do spares the graph the case of none.
            keys, rows = tf.zeros([1], keys.dtype), tf.zeros([1, rows.shape[1]])
        self.keys = tf.Variable(keys, trainable=False, name="keys")
        self.rows = tf.Variable(rows, trainable=False, name="rows")

    def __call__(self, keys: tf.Tensor) -> tf.Tensor:
        keys = tf.cast(keys, self.keys.dtype)
        at = tf.reshape(tf.searchsorted(self.keys, tf.reshape(keys, [-1]), out_type=tf.int64), tf.shape(keys))
        at = tf.minimum(at, tf.shape(self.keys, tf.int64)[0] - 1)
        held = tf.equal(tf.gather(self.keys, at), keys)
        return tf.where(held[..., tf.newaxis], tf.gather(self.rows, at), 0.0)

    def read(self, keys: tf.Tensor, mode: str) -> tf.Tensor:
        """In place of the variable's own lookup. Raises ValueError for what only a table that lives can do."""
        if mode != "zeros":
            raise ValueError(f"table {self._table!r} is frozen: keys without a row read zeros, and none is trained")
        return self(keys)

    def __enter__(self) -> FrozenTable:
        _now.standing.setdefault(self._of, []).append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _now.standing[self._of].pop()
        if not _now.standing[self._of]:
            del _now.standing[self._of]


def frozen_now(of: object) -> FrozenTable | None:
    """What stands for this table on this thread; None where it does itself."""
    standing = _now.standing.get(of)
    return standing[-1] if standing else None
