"""Tables as stock TensorFlow reads them: keys and rows in variables, found by binary search."""

from __future__ import annotations

import threading
from types import TracebackType

import tensorflow as tf

__all__ = ["FrozenTable", "entered_frozen"]


class _Entered(threading.local):
    """Token of a table → the frozen tables that stand for it, the last one entered last; of each thread its own."""

    def __init__(self) -> None:
        self.tables: dict[object, list[FrozenTable]] = {}


_entered = _Entered()


class FrozenTable(tf.Module):
    """The rows of a `KvVariable` at one instant: keys of any shape → float32 [..., width], zeros for all others.

    Within `with kv.frozen():` whatever reads the variable on this thread reads this instead. What is traced there
    needs none of the native ops: a SavedModel of it is one that any TensorFlow loads, if it tracks this object. A
    function that was traced there goes on reading this afterwards, too.
    """

    def __init__(self, name: str, keys: tf.Tensor, rows: tf.Tensor, token: object) -> None:
        """`token`: what the table is known by, and not the table itself, whose memory this is not to keep."""
        super().__init__()
        self._table_name, self._token = name, token
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
            raise ValueError(
                f"table {self._table_name!r} is frozen: keys without a row read zeros, and none is trained"
            )
        return self(keys)

    def __enter__(self) -> FrozenTable:
        _entered.tables.setdefault(self._token, []).append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _entered.tables[self._token].pop()
        if not _entered.tables[self._token]:
            del _entered.tables[self._token]


def entered_frozen(token: object) -> FrozenTable | None:
    """What stands for the table of this token on this thread; None where it does itself."""
    tables = _entered.tables.get(token)
    return tables[-1] if tables else None
