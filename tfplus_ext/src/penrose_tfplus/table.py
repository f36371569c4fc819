"""`Table`: a dynamic embedding table over NumPy arrays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, get_args

import numpy as np

from penrose_tfplus import _native
from penrose_tfplus._native import BadGradient, TableFull, instruction_set
from penrose_tfplus.resolved_options import parameter_value, resolve
from penrose_tfplus.table_options import TableOptions

if TYPE_CHECKING:
    import numpy.typing as npt

    from penrose_tfplus._native import Float32, Int64

    Scalar = TypeVar("Scalar", bound=np.generic)

__all__ = [
    "BadGradient",
    "Table",
    "TableFull",
    "WriteOp",
    "initializers",
    "instruction_set",
    "optimizers",
]

WriteOp = Literal["assign", "add", "subtract", "multiply", "divide", "minimum", "maximum"]
_OPS = {name: number for number, name in enumerate(get_args(WriteOp))}
#: Times are whole seconds since 1970 inside, in 32 bits: to the year 2106.
_MICROS = 1_000_000
_LAST_SECOND = 2**32 - 1


def optimizers() -> dict[str, dict[str, float]]:
    """Optimizer → its parameters with their defaults."""
    return {name: {p[0]: p[1] for p in parameters} for name, _, parameters in _native.optimizers()}


def initializers() -> dict[str, dict[str, float]]:
    """Initializer → its parameters with their defaults."""
    return {name: {p[0]: p[1] for p in parameters} for name, parameters in _native.initializers()}


class Table:
    """int64 key → float32 row of `width` numbers, with optimizer slots, frequency and last-seen time beside it.

    Every int64 is a legal key; no two keys share a row; the table grows as keys come. Operations work on whole
    batches and may be called from any thread. The options are keywords: those that `TableOptions` declares.

    Raises `ValueError` for what does not exist or cannot be a value.
    """

    def __init__(self, width: int, **options: Unpack[TableOptions]) -> None:
        resolved = resolve(width, options)
        self._rate = resolved.learning_rate
        self.width = resolved.width
        self.optimizer = resolved.optimizer
        #: Slot → its numbers in a row, in the order of `slots()`.
        self.slot_widths = resolved.slot_widths
        self._native = _native.Table(**vars(resolved))

    # -- training ----------------------------------------------------------------------------------

    def lookup(self, keys: Int64, *, train: bool = False, unseen: Literal["zeros", "first"] = "zeros") -> Float32:
        """Rows of `keys`: int64 [n] → a new float32 [n, width].

        `train`: the keys count as seen, and become rows when they are admitted. Otherwise nothing changes, and keys
        without a row read zeros, or the value that they would start with. Raises `TableFull`.
        """
        if unseen not in ("zeros", "first"):
            raise ValueError(f"unseen must be zeros or first, not {unseen!r}")
        return self._native.lookup(_keys(keys), train, unseen == "first")

    def apply(
        self,
        keys: Int64,
        gradients: Float32,
        *,
        time: int = 0,
        learning_rate: float | None = None,
        skip_non_finite: bool = False,
    ) -> None:
        """One step of the optimizer: gradients float32 [n, width] for keys int64 [n]; repeated keys summed first.

        `time`: the event time, microseconds since 1970, that the keys are now last seen at, unless an earlier step
        came with a later one: the table's clock does not go back. `learning_rate`: of this step only.

        Fastest right after `lookup(keys, train=True)`, whose rows it finds again. Keys without a row get
        one, except those that are not admitted. Raises `BadGradient`, the table unchanged, where a sum is not finite;
        `skip_non_finite` leaves out those rows instead and counts them.
        """
        given = learning_rate is not None
        rate = parameter_value(f"optimizer {self.optimizer}", self._rate, learning_rate) if given else math.nan
        self._native.apply(_keys(keys), self._rows("gradients", gradients, keys), _seconds(time), rate, skip_non_finite)

    def write(self, keys: Int64, rows: Float32, op: WriteOp = "assign") -> None:
        """Set rows float32 [n, width], or add to them and so on, one after the other.

        A key without a row gets one first, whatever the admission. Optimizer slots stay as they are.
        """
        if op not in _OPS:
            raise ValueError(f"op must be one of {', '.join(_OPS)}, not {op!r}")
        self._native.write(_keys(keys), self._rows("rows", rows, keys), _OPS[op])

    # -- looking at it -----------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._native.size()

    def contains(self, keys: Int64) -> npt.NDArray[np.bool_]:
        """Whether each key has a row: bool [n]."""
        return self._native.contains(_keys(keys))

    def counts(self, keys: Int64) -> Int64:
        """How often each key was looked up for training: int64 [n]; keys that wait for admission too."""
        return self._native.counts(_keys(keys))

    def times(self, keys: Int64) -> Int64:
        """When each key was last trained: int64 [n], microseconds since 1970, in whole seconds; -1: never seen."""
        seconds = self._native.times(_keys(keys))
        return np.where(seconds < 0, -1, seconds * _MICROS)

    def slots(self, keys: Int64) -> dict[str, Float32]:
        """The optimizer's state beside each row: slot → float32 [n, width] or [n, 1]; zeros without a row."""
        whole = self._native.slots(_keys(keys))
        ends = np.cumsum(list(self.slot_widths.values()))[:-1]
        return dict(zip(self.slot_widths, np.split(whole, ends, axis=1), strict=True)) if self.slot_widths else {}

    def keys(self) -> Int64:
        """All keys that have a row, ascending: int64 [rows]. With `lookup` this is the view that serving needs."""
        return self._native.keys()

    @property
    def candidates(self) -> int:
        """Keys that wait for admission."""
        return self._native.candidates()

    @property
    def bytes(self) -> int:
        """Memory taken: rows, slots, index, what was seen, and room to work in."""
        return self._native.bytes()

    @property
    def counters(self) -> dict[str, int]:
        """Since the start: `lookups` for training, `steps`, rows `evicted`, `skipped_rows`; `now` in seconds."""
        return self._native.counters()

    # -- giving up rows ----------------------------------------------------------------------------

    def delete(self, keys: Int64) -> int:
        """Remove rows, and forget what waits for admission. Returns how many rows there were."""
        return self._native.erase(_keys(keys))

    def evict(
        self,
        *,
        before: int | None = None,
        min_count: int | None = None,
        min_norm: float | None = None,
        max_rows: int | None = None,
    ) -> int:
        """Remove rows last seen before this time (microseconds since 1970), seen less often than `min_count`, with a
        smaller L2 norm than `min_norm`; then, down to `max_rows`, those not seen for longest. Returns how many.
        """
        for name, value in (
            ("before", before),
            ("min_count", min_count),
            ("min_norm", min_norm),
            ("max_rows", max_rows),
        ):
            if value is not None and not 0 <= value < 2**63:
                raise ValueError(f"{name} must not be negative, nor too large: {value!r}")
        return self._native.evict(
            -1 if before is None else _seconds(before),
            -1 if min_count is None else min(min_count, 2**32 - 1),
            -1.0 if min_norm is None else float(min_norm),
            -1 if max_rows is None else max_rows,
        )

    def clear(self) -> None:
        """Remove everything."""
        self._native.clear()

    def _rows(self, what: str, rows: Float32, keys: Int64) -> Float32:
        array = isinstance(rows, np.ndarray)
        if not array or rows.dtype != np.float32 or rows.shape != (len(keys), self.width):
            given = f"{rows.dtype} {list(rows.shape)}" if array else type(rows).__name__
            raise ValueError(f"{what} must be float32 [{len(keys)}, {self.width}], not {given}")
        return _plain(rows)


def _keys(keys: Any) -> Int64:
    """As the extension takes them; Arrow columns of int64 too."""
    if not isinstance(keys, np.ndarray):
        if not hasattr(keys, "to_numpy"):
            raise ValueError(f"keys must be an int64 array [n], not {type(keys).__name__}")
        if getattr(keys, "null_count", 0):
            raise ValueError(f"keys must have no nulls, and {keys.null_count} are")
        keys = keys.to_numpy()
    if keys.dtype != np.int64 or keys.ndim != 1:
        raise ValueError(f"keys must be int64 [n], not {keys.dtype} {list(keys.shape)}")
    return _plain(keys)


def _plain(array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """The array, or a copy as the extension reads memory: one number after the other, each where it may stand."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.require(array, requirements=("C", "A"))


def _seconds(micros: int) -> int:
    return min(max(int(micros) // _MICROS, 0), _LAST_SECOND)
