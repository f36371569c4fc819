"""The datasource `clickstream`: synthetic clicks without end, to try things out with; `clicks` says what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from penrose_host.contracts.plugin import API_VERSION, Capability
from penrose_host.datasources.partitioned import PartitionedSource
from penrose_host.options.durations import Duration

if TYPE_CHECKING:
    import pyarrow as pa

    from penrose_host.datasources.clickstream.clicks import ClickModel

__all__ = ["ClickstreamOptions", "ClickstreamSource"]

#: Rows made at a time.
BLOCK_ROWS = 8192


class ClickstreamOptions(BaseModel):
    """A seeded stream of clicks: event_time, user, item, category, hour, price, history, click, click_known_at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=0, ge=0, lt=1 << 64, description="another seed is another stream")
    partitions: int = Field(default=4, ge=1, le=1024, description="number of partitions, called 0, 1, …")
    rows: int | None = Field(default=None, ge=0, description="rows in all; by default the stream never ends")
    rows_per_second: float = Field(default=100.0, ge=0.001, le=1e6, description="rows for each second of event time")
    users: int = Field(default=20_000, ge=1, le=1 << 40, description="users there are when the stream begins")
    items: int = Field(default=2_000, ge=1, le=1 << 40, description="items there are when the stream begins")
    births: float = Field(default=0.01, ge=0, le=1, description="new users for each row; of items, a tenth of that")
    label_delay: Duration = Field(default=600_000_000, description="mean time until it is known whether a user clicked")
    null_share: float = Field(default=0.02, ge=0, le=1, description="share of rows whose label is never known (null)")
    drift: float = Field(default=1.0, ge=0, description="how often tastes turn round in a day of event time")


class ClickstreamSource(PartitionedSource):
    """Synthetic clicks without end: seeded, with drift and late labels. Partitions take turns."""

    api_version: ClassVar[int] = API_VERSION
    Options = ClickstreamOptions
    capabilities = frozenset({Capability.SEEK, Capability.UNBOUNDED})

    options: ClickstreamOptions

    def __init__(self, options: ClickstreamOptions) -> None:
        super().__init__(options)
        if options.rows is not None:
            # This stream does end.
            self.capabilities = frozenset({Capability.SEEK})
        # Partition → rows that were made, and the offset of the first of them.
        self._made: dict[str, tuple[int, pa.RecordBatch]] = {}

    @property
    def source_id(self) -> str:
        # Without `rows`: a longer stream is the same one, further on.
        values = self.options.model_dump(exclude={"rows"})
        return "clickstream:1:" + ",".join(f"{name}={value}" for name, value in sorted(values.items()))

    def partitions(self) -> Sequence[str]:
        return [str(number) for number in range(self.options.partitions)]

    def end(self, partition: str) -> int | None:
        if self.options.rows is None:
            return None
        whole, over = divmod(self.options.rows, self.options.partitions)
        return whole + (int(partition) < over)

    def rows(self, partition: str, offset: int, max_rows: int) -> pa.RecordBatch:
        start, made = self._made.get(partition) or (offset, self._make(partition, offset))
        batch = made.slice(offset - start, max_rows)
        if offset + batch.num_rows < start + made.num_rows:
            self._made[partition] = start, made
        else:
            self._made.pop(partition, None)
        return batch

    def close(self) -> None:
        super().close()
        self._made.clear()

    @cached_property
    def _model(self) -> ClickModel:
        from penrose_host.datasources.clickstream.clicks import ClickModel

        options = self.options.model_dump(exclude={"rows"})
        return ClickModel(**{**options, "label_delay": self.options.label_delay})

    def _make(self, partition: str, offset: int) -> pa.RecordBatch:
        end = self.end(partition)
        stop = offset + BLOCK_ROWS if end is None else min(offset + BLOCK_ROWS, end)
        return self._model.rows(int(partition), offset, stop - offset)
