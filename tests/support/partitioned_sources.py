"""Sources on the base for those that read by partition: with gaps between offsets, without, and without an end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

from penrose_host import OFFSET, Capability, PartitionedSource

if TYPE_CHECKING:
    import pyarrow as pa


class Table(PartitionedSource):
    """Partition → the offsets at which rows stand."""

    api_version = 1
    capabilities = frozenset({Capability.SEEK})
    given: ClassVar[dict[str, list[int]]] = {"b": list(range(0, 90, 3)), "a": [7, 8, 40], "none": []}
    ends: ClassVar[dict[str, int | None]] = {}

    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")

    @property
    def source_id(self) -> str:
        return "table"

    def partitions(self) -> Sequence[str]:
        return list(self.given)

    def end(self, partition: str) -> int | None:
        return self.ends.get(partition, max(self.given[partition], default=-1) + 1)

    def rows(self, partition: str, offset: int, max_rows: int) -> pa.RecordBatch:
        import pyarrow as pa

        offsets = [number for number in self.given[partition] if number >= offset][:max_rows]
        return pa.record_batch({OFFSET: pa.array(offsets, pa.int64()), "n": pa.array(offsets, pa.int64())})


class Counting(Table):
    """Rows stand at all offsets, and those of "slow" come last."""

    given: ClassVar[dict[str, list[int]]] = {"slow": list(range(5)), "quick": list(range(9))}

    def turn(self, partition: str, offset: int) -> Any:
        return partition == "slow", offset

    def rows(self, partition: str, offset: int, max_rows: int) -> pa.RecordBatch:
        return super().rows(partition, offset, max_rows).select(["n"])


class Endless(Counting):
    capabilities = frozenset({Capability.SEEK, Capability.UNBOUNDED})
    ends: ClassVar[dict[str, int | None]] = {"slow": None, "quick": None}

    def turn(self, partition: str, offset: int) -> int:
        return offset

    def rows(self, partition: str, offset: int, max_rows: int) -> pa.RecordBatch:
        import pyarrow as pa

        return pa.record_batch({"n": pa.array(range(offset, offset + max_rows), pa.int64())})
