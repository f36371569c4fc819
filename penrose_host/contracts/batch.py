"""What flows through the host: chunks in, encoded batches to the executor, positions beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

__all__ = [
    "OFFSET",
    "PARTITION",
    "Chunk",
    "EncodedBatch",
    "Float32",
    "Float64",
    "Int32",
    "Int64",
    "Position",
    "Ragged",
    "Reject",
    "StepInfo",
    "StepResult",
]

# Names of types, in quotes: who runs `penrose --help` does not wait for NumPy.
Int64: TypeAlias = "npt.NDArray[np.int64]"
Int32: TypeAlias = "npt.NDArray[np.int32]"
Float32: TypeAlias = "npt.NDArray[np.float32]"
Float64: TypeAlias = "npt.NDArray[np.float64]"

#: Column of a chunk: the partition of a row (string).
PARTITION = "_partition"
#: Column of a chunk: the offset of a row in its partition (int64, ascending).
OFFSET = "_offset"


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading goes on: partition → next offset, in the stream called `source_id`."""

    source_id: str
    offsets: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "offsets", MappingProxyType(dict(sorted(self.offsets.items()))))

    def __reduce__(self) -> tuple[type[Position], tuple[str, dict[str, int]]]:
        # A read-only view cannot cross to another process of its own accord.
        return type(self), (self.source_id, dict(self.offsets))

    def to_json(self) -> dict[str, Any]:
        """A dict that `json.dumps` takes; partitions in order, so that equal positions print equal."""
        return {"source_id": self.source_id, "offsets": dict(self.offsets)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Position:
        """The position that `to_json` wrote. Raises KeyError, TypeError or ValueError where it is not one."""
        return cls(str(data["source_id"]), {str(name): int(offset) for name, offset in data["offsets"].items()})


@dataclass(frozen=True, slots=True)
class Reject:
    """One row that the source or the encoder could not use; it keeps its partition and offset."""

    partition: str
    offset: int
    reason: str
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a source hands over: rows in order within each partition, and the rows it had to reject.

    `batch` has any length (0 too) and the columns `_partition` (string, or dictionary of string)
    and `_offset` (int64). An offset stands once, either in `batch` or in `rejects`.
    `raw`, where a source has it: the bytes that each row of `batch` was made of, for dead letters.
    """

    batch: pa.RecordBatch
    rejects: tuple[Reject, ...] = ()
    raw: Sequence[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Ragged:
    """A list feature: the ids of row i are `values[offsets[i]:offsets[i + 1]]` (int64, int64[rows + 1]).

    `offsets[0]` need not be 0: a slice shares `values` with the batch it was cut from.
    """

    values: Int64
    offsets: Int64


T = TypeVar("T")


class _Window(Mapping[str, T]):
    """A mapping whose arrays are cut to the rows start..stop only when they are asked for."""

    __slots__ = ("_columns", "_cut")

    def __init__(self, columns: Mapping[str, Any], cut: Callable[[Any], T]) -> None:
        self._columns = columns
        self._cut = cut

    def __getitem__(self, name: str) -> T:
        return self._cut(self._columns[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


class EncodedBatch:
    """Rows as an executor sees them: ids, numbers, labels. Never mutate the arrays; they are shared.

    * `ids`: int64 [rows, features], one id for each single-valued categorical feature and cross,
      in the order of `FeatureSpec.categorical`.
    * `lists`: list and sequence features, name → `Ragged`.
    * `numeric`: name → float32 [rows].
    * `labels`: head → float32 [rows]; NaN where this head's label is null (such a value must not train).

    `slice` costs about a microsecond and copies nothing: micro-batches of a few rows are normal.
    """

    __slots__ = ("_ids", "_labels", "_lists", "_numeric", "_start", "_stop")

    def __init__(
        self,
        ids: Int64,
        lists: Mapping[str, Ragged],
        numeric: Mapping[str, Float32],
        labels: Mapping[str, Float32],
        *,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        self._ids = ids
        self._lists = lists
        self._numeric = numeric
        self._labels = labels
        self._start = start
        self._stop = len(ids) if stop is None else stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __repr__(self) -> str:
        return (
            f"EncodedBatch(rows={len(self)}, categorical={self._ids.shape[1]}, lists={list(self._lists)}, "
            f"numeric={list(self._numeric)}, labels={list(self._labels)})"
        )

    @property
    def ids(self) -> Int64:
        return self._ids[self._start : self._stop]

    @property
    def lists(self) -> Mapping[str, Ragged]:
        return _Window(self._lists, self._cut_ragged)

    @property
    def numeric(self) -> Mapping[str, Float32]:
        return _Window(self._numeric, self._cut)

    @property
    def labels(self) -> Mapping[str, Float32]:
        return _Window(self._labels, self._cut)

    def slice(self, start: int, stop: int) -> EncodedBatch:
        """Rows start..stop, sharing memory."""
        base = self._start
        return EncodedBatch(
            self._ids, self._lists, self._numeric, self._labels, start=base + start, stop=min(base + stop, self._stop)
        )

    def _cut(self, column: Float32) -> Float32:
        return column[self._start : self._stop]

    def _cut_ragged(self, column: Ragged) -> Ragged:
        return Ragged(column.values, column.offsets[self._start : self._stop + 1])


class StepInfo:
    """What makes a parameter update recognisable when it is sent twice or by a replaced process.

    `worker` sent it, in its `incarnation`-th life, as its `sequence`-th step; `position` is where the
    stream goes on after the rows scored so far; `event_time` is that of the latest row of the step, in
    microseconds since 1970, None where it is not known: the clock of everything that ages. Both are worked
    out only when asked for.
    """

    __slots__ = ("_event_time", "_position", "incarnation", "sequence", "worker")

    def __init__(
        self,
        worker: int,
        incarnation: int,
        sequence: int,
        position: Callable[[], Position],
        event_time: Callable[[], int] | None = None,
    ) -> None:
        self.worker = worker
        self.incarnation = incarnation
        self.sequence = sequence
        self._position = position
        self._event_time = event_time

    @property
    def position(self) -> Position:
        return self._position()

    @property
    def event_time(self) -> int | None:
        return None if self._event_time is None else self._event_time()

    def __repr__(self) -> str:
        return f"StepInfo(worker={self.worker}, incarnation={self.incarnation}, sequence={self.sequence})"


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one training step did.

    `losses`: head → mean loss of its labelled rows, whatever reduction was minimised.
    `scores`: head → float32 [rows], the probabilities *before* the update, of the rows in their order.
    `applied`: False where a loss or a gradient was not finite and therefore nothing was changed.
    """

    losses: Mapping[str, float]
    scores: Mapping[str, Float32]
    applied: bool = True
