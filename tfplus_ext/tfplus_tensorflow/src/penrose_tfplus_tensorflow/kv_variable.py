"""`KvVariable`: a dynamic embedding table that TensorFlow trains, eagerly and in graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Unpack

import tensorflow as tf
from tensorflow.python.ops import resource_variable_ops

from penrose_tfplus.resolved_options import ResolvedOptions
from penrose_tfplus_tensorflow._library import ops
from penrose_tfplus_tensorflow.arguments import (
    eviction_bounds,
    key_tensor,
    learning_rate_tensor,
    row_tensor,
    scalar_tensor,
)
from penrose_tfplus_tensorflow.content import Content, checked_content, export_content, import_content
from penrose_tfplus_tensorflow.frozen import FrozenTable, entered_frozen
from penrose_tfplus_tensorflow.op_results import graph_operation
from penrose_tfplus_tensorflow.table_resource import KvVariableOptions, TableResource

if TYPE_CHECKING:
    from tensorflow import IndexedSlices, Tensor

__all__ = ["KvVariable"]

_COUNTERS = ("lookups", "steps", "evicted", "now", "skipped_rows")


class KvVariable(tf.Module):
    """Key → float32 row of `width` numbers, with optimizer slots, frequency and last-seen time beside it.

    Every key of `key_dtype` is legal; no two share a row; the table grows as keys come. `tape.gradient(loss, kv)`
    gives `tf.IndexedSlices`, which `apply_gradients` takes. The options are keywords: those that `KvVariableOptions`
    declares. Tables live in main memory and their ops run on the CPU.

    Each variable has a table of its own, whatever its name, which goes with its last handle. In a `tf.Graph` of
    TensorFlow 1 the table belongs to the session, and two variables of one name share it. Raises ValueError for what
    does not exist or cannot be a value, and for a name that the graph has with other options. There, methods that
    change the table and tell nothing return their operation; elsewhere None, and what comes later sees the change.
    """

    #: TensorFlow differentiates by the handle of what has this.
    _should_act_as_resource_variable = True
    trainable = True
    dtype = tf.float32

    def __init__(self, name: str, width: int, **options: Unpack[KvVariableOptions]) -> None:
        super().__init__()
        self._table = TableResource(name, width, options)
        self._token = object()  # what it is known by where its memory is not to be kept

    # -- what it is --------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self._table.name

    @property
    def _shared_name(self) -> str:  # what checkpoints of TensorFlow call a resource by
        return self.name

    @property
    def key_dtype(self) -> tf.DType:
        return self._table.key_dtype

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self._table.width

    @property
    def shape(self) -> tf.TensorShape:
        return self._table.shape

    @property
    def handle(self) -> Tensor:
        """The resource that the ops take, and that gradients are of."""
        return self._table.handle

    @property
    def options(self) -> ResolvedOptions:
        """What it was made with, defaults filled in."""
        return self._table.options

    @property
    def slot_widths(self) -> dict[str, int]:
        """Slot of the optimizer → its numbers in a row."""
        return self._table.slot_widths

    @property
    def identity(self) -> tuple[tf.DType, ResolvedOptions]:
        """Equal for variables that can stand for each other: threads and shards change no result."""
        return self._table.identity

    def __repr__(self) -> str:
        return f"KvVariable({self.name!r}, {self._table})"

    # -- rows --------------------------------------------------------------------------------------

    def gather(self, keys: Any, *, train: bool = False, unseen: Literal["zeros", "first", "error"] = "zeros") -> Tensor:
        """Rows of the keys: key_dtype [...] → float32 [..., width].

        `train`: the keys count as seen, and become rows when they are admitted. Otherwise nothing changes, and keys
        without a row read zeros, or the value that they would start with, or raise NotFoundError. In training, a table
        at its limit raises ResourceExhaustedError. Gather before a loop or a one-sided `tf.cond` that the tape goes
        around, not in it: TensorFlow would add up dense gradients there, which a table without end has not.
        """
        if unseen not in ("zeros", "first", "error"):
            raise ValueError(f"unseen must be zeros, first or error, not {unseen!r}")
        keys = key_tensor(self._table, keys)
        mode = "train" if train else unseen
        frozen = entered_frozen(self._token)
        if frozen is not None:
            return frozen.read(keys, mode)
        resource_variable_ops.variable_accessed(self)
        rows = ops.tfplus_gather(self.handle, keys, mode=mode)
        rows.set_shape(keys.shape.concatenate([self.width]))
        return rows

    def insert(self, keys: Any, rows: Any) -> Any:
        """Set the rows float32 [n, width] of keys [n]. Those without a row get one, whatever the admission.

        This and every `scatter_…` takes rows one after the other, and leaves optimizer slots as they are.
        """
        return self._write("assign", keys, rows)

    scatter_update = insert

    def scatter_add(self, keys: Any, rows: Any) -> Any:
        """Add to rows."""
        return self._write("add", keys, rows)

    def scatter_sub(self, keys: Any, rows: Any) -> Any:
        """Subtract from rows."""
        return self._write("subtract", keys, rows)

    def scatter_mul(self, keys: Any, rows: Any) -> Any:
        """Multiply rows, number by number."""
        return self._write("multiply", keys, rows)

    def scatter_div(self, keys: Any, rows: Any) -> Any:
        """Divide rows, number by number."""
        return self._write("divide", keys, rows)

    def scatter_min(self, keys: Any, rows: Any) -> Any:
        """The smaller number of each."""
        return self._write("minimum", keys, rows)

    def scatter_max(self, keys: Any, rows: Any) -> Any:
        """The larger number of each."""
        return self._write("maximum", keys, rows)

    def _write(self, op: str, keys: Any, rows: Any) -> Any:
        keys, rows = key_tensor(self._table, keys), row_tensor(self._table, "rows", rows)
        return graph_operation(ops.tfplus_write(self.handle, keys, rows, op=op))

    # -- training ----------------------------------------------------------------------------------

    def apply_gradients(
        self,
        gradients: IndexedSlices,
        *,
        time: Any = 0,
        learning_rate: Any = None,
        skip_non_finite: bool = False,
    ) -> Any:
        """One step of the table's optimizer; gradients of the same key are added up first.

        `time`: the event time, microseconds since 1970, that the keys are now last seen at, unless an earlier step
        came with a later one. `learning_rate`: of this step only, a number, a tensor or a variable.

        Fastest right after the `gather(keys, train=True)` of the same keys. Keys without a row get one, except those
        that are not admitted. Where a sum is not finite InvalidArgumentError is raised, the table unchanged;
        `skip_non_finite` leaves out those rows instead and counts them.
        """
        if not isinstance(gradients, tf.IndexedSlices):
            raise ValueError(
                f"table {self.name!r} takes tf.IndexedSlices, as tape.gradient(loss, kv) gives them, not {gradients!r}"
            )
        keys, values = (
            key_tensor(self._table, gradients.indices),
            row_tensor(self._table, "gradients", gradients.values),
        )
        rate = learning_rate_tensor(self._table, learning_rate)
        time = scalar_tensor("time", time, tf.int64)
        return graph_operation(ops.tfplus_apply(self.handle, keys, values, time, rate, skip_non_finite=skip_non_finite))

    # -- looking at it -----------------------------------------------------------------------------

    def contains(self, keys: Any) -> Tensor:
        """Whether each key has a row: bool, of the keys' shape."""
        return ops.tfplus_contains(self.handle, key_tensor(self._table, keys))

    def counts(self, keys: Any) -> Tensor:
        """How often each key was looked up for training: int64; keys that wait for admission too."""
        return ops.tfplus_counts(self.handle, key_tensor(self._table, keys))

    def times(self, keys: Any) -> Tensor:
        """When each key was last trained: int64, microseconds since 1970, in whole seconds; -1: never seen."""
        return ops.tfplus_times(self.handle, key_tensor(self._table, keys))

    def slots(self, keys: Any) -> dict[str, Tensor]:
        """The optimizer's state beside each row: slot → float32 [..., width] or [..., 1]; zeros without a row."""
        widths = self.slot_widths
        if not widths:
            return {}
        whole = ops.tfplus_slots(self.handle, key_tensor(self._table, keys))
        return dict(zip(widths, tf.split(whole, list(widths.values()), axis=-1), strict=True))

    def keys(self) -> Tensor:
        """All keys that have a row, ascending: int64 [rows]."""
        return ops.tfplus_keys(self.handle)

    def frozen(self) -> FrozenTable:
        """A copy of all rows in stock TensorFlow, to export: see `FrozenTable`. Eagerly only, and as `state` not while
        an export waits for its end."""
        if not tf.executing_eagerly():
            raise ValueError(f"table {self.name!r} can be frozen eagerly only, not while a graph is built")
        standing = entered_frozen(self._token)
        if standing is not None:
            return FrozenTable(self.name, standing.keys.value(), standing.rows.value(), self._token)
        content = self.state()
        return FrozenTable(self.name, tf.cast(content["keys"], self.key_dtype), content["rows"], self._token)

    def size(self) -> Tensor:
        """How many rows there are: int64."""
        return ops.tfplus_size(self.handle, what="rows")

    def candidates(self) -> Tensor:
        """How many keys wait for admission: int64."""
        return ops.tfplus_size(self.handle, what="candidates")

    def bytes(self) -> Tensor:
        """Memory taken: int64."""
        return ops.tfplus_size(self.handle, what="bytes")

    def counters(self) -> dict[str, Tensor]:
        """Since the start: `lookups` for training, `steps`, rows `evicted`, `skipped_rows`; `now` in seconds."""
        return dict(zip(_COUNTERS, tf.unstack(ops.tfplus_counters(self.handle)), strict=True))

    # -- giving up rows ----------------------------------------------------------------------------

    def delete(self, keys: Any) -> Tensor:
        """Remove rows, and forget what waits for admission. Returns how many rows there were: int64."""
        return ops.tfplus_delete(self.handle, key_tensor(self._table, keys))

    def evict(self, *, before: Any = None, min_count: Any = None, min_norm: Any = None, max_rows: Any = None) -> Tensor:
        """Remove rows last seen before this time (microseconds since 1970), seen less often than `min_count`, with a
        smaller L2 norm than `min_norm`; then, down to `max_rows`, those not seen for longest. Returns how many: int64.

        Bounds are numbers or tensors; None, and of a tensor what is negative, is no bound.
        """
        bounds = eviction_bounds(before, min_count, min_norm, max_rows)
        return ops.tfplus_evict(self.handle, *bounds)

    def clear(self) -> Any:
        """Remove everything."""
        return graph_operation(ops.tfplus_clear(self.handle))

    # -- all of it ---------------------------------------------------------------------------------

    def state(self) -> Content:
        """Everything that decides what the table does next, ascending by key: equal tables give equal bytes.

        `keys` int64 [n], `rows` float32 [n, width], `slot_…` float32 [n, width] or [n, 1], `counts` and `times` int64
        [n]; `candidate_keys`, `candidate_counts` and `candidate_times` int64 [m]; `counters` int64 [5].
        """
        return export_content(self._table, "copy")

    def load_state(self, state: Mapping[str, Any]) -> Any:
        """Become what `state` held.

        Raises ValueError, the table unchanged, for another width, optimizer or dtype, for keys that `key_dtype` has
        not, and for more rows than `max_rows`. (Inside functions, InvalidArgumentError for what shows while they run.)
        """
        return import_content(self._table, self._whole(state))

    def check_state(self, state: Mapping[str, Any]) -> Any:
        """Raise what `load_state` would for this state, and change nothing."""
        return import_content(self._table, self._whole(state), check_only=True)

    def _whole(self, state: Mapping[str, Any]) -> Content:
        return checked_content(self._table, {"deleted": tf.zeros([0], tf.int64), "full": tf.constant(True), **state})

    def export(self, *, full: bool = False) -> Content:
        """What changed since the last export that was committed, or everything: as `state`, with `deleted` int64 [k].

        When it is kept safe call `commit_export`, otherwise `abort_export`: until then there is no other one, and no
        `state` or checkpoint (FailedPreconditionError). After `clear`, and where too many keys were deleted to
        remember, the same error asks for a full one.
        """
        return export_content(self._table, "all" if full else "changes")

    def commit_export(self) -> Any:
        """The last export is safe: the next one has what changes from its instant on."""
        return graph_operation(ops.tfplus_end_export(self.handle, committed=True))

    def abort_export(self) -> Any:
        """The last export is lost: what it held counts as changed again."""
        return graph_operation(ops.tfplus_end_export(self.handle, committed=False))

    def import_(self, exported: Mapping[str, Any]) -> Any:
        """Take over an export: a full one replaces everything, another comes on top. Raises as `load_state`."""
        return import_content(self._table, checked_content(self._table, exported))

    def __deepcopy__(self, memo: dict[int, Any]) -> KvVariable:
        """Another variable that holds the same. Eagerly only."""
        if not tf.executing_eagerly():
            raise ValueError(f"table {self.name!r} can be copied eagerly only, not while a graph is built")
        own = self.options
        options: KvVariableOptions = {**own.table_options, "threads": own.threads, "key_dtype": self.key_dtype}
        copy = KvVariable(self.name, self.width, **options)
        copy.load_state(self.state())
        memo[id(self)] = copy
        return copy

    def _trackable_children(self, save_type: str = "checkpoint", **given: Any) -> dict[str, Any]:
        if save_type == "savedmodel":
            raise ValueError(
                f"a SavedModel cannot hold table {self.name!r}, whose ops a server lacks, nor a model that tracks it: "
                "save a tf.Module that tracks kv.frozen(), entered with `with`, and a function that is made there"
            )
        children: dict[str, Any] = super()._trackable_children(save_type, **given)
        return children

    def _serialize_to_tensors(self) -> Content:
        return self.state()

    def _restore_from_tensors(self, restored_tensors: Mapping[str, Tensor]) -> Any:
        return self.load_state(restored_tensors)
