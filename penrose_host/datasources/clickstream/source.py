"""The datasource `clickstream`: synthetic clicks without end, to try things out with; `clicks` says what is in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from penrose_host.contracts.datasource import DataSource, EndOfStream, Lag
from penrose_host.contracts.plugin import API_VERSION, Capability
from penrose_host.errors import WrongStream
from penrose_host.options.durations import Duration

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Chunk
    from penrose_host.datasources.clickstream.clicks import ClickModel
    from penrose_host.datasources.files.parts import Part

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


class ClickstreamSource(DataSource):
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
        self._model: ClickModel | None = None
        self._next: dict[str, int] = {}
        self._parts: dict[str, Part] = {}
        self._paused: frozenset[str] = frozenset()

    @property
    def source_id(self) -> str:
        # Without `rows`: a longer stream is the same one, further on.
        values = self.options.model_dump(exclude={"rows"})
        return "clickstream:1:" + ",".join(f"{name}={value}" for name, value in sorted(values.items()))

    def partitions(self) -> Sequence[str]:
        return [str(number) for number in range(self.options.partitions)]

    def open(self, assignment: Mapping[str, int | None]) -> None:
        from penrose_host.datasources.clickstream.clicks import ClickModel

        if self._model is None:
            options = self.options.model_dump(exclude={"rows"})
            self._model = ClickModel(**{**options, "label_delay": self.options.label_delay})
        known = set(self.partitions())
        for name, offset in assignment.items():
            if name not in known:
                raise WrongStream(f"there is no partition {name!r}: the clickstream has {self.options.partitions}")
            end = self._end(name)
            if offset is not None and (offset < 0 or (end is not None and offset > end)):
                raise WrongStream(
                    f"partition {name!r} of the clickstream cannot start at offset {offset}",
                    hint=None if end is None else f"it has {end} rows: raise the option `rows`",
                )
            self._next.setdefault(name, offset or 0)

    def read(self, max_rows: int, timeout: float) -> Chunk | None:  # noqa: ARG002 - rows are always there
        unfinished = self._next.keys() - self.ended()
        if not unfinished:
            raise EndOfStream
        ready = unfinished - self._paused
        if not ready:
            return None
        offset, partition = min((self._next[name], int(name)) for name in ready)
        name = str(partition)
        part, rest = (self._parts.pop(name, None) or self._make(partition, offset)).split(offset + max_rows)
        if rest is not None:
            self._parts[name] = rest
        self._next[name] = part.stop
        return part.chunk()

    def pause(self, partitions: Collection[str]) -> None:
        self._paused = frozenset(partitions)

    def ended(self) -> set[str]:
        return {name for name, offset in self._next.items() if offset == self._end(name)}

    def lag(self) -> Lag | None:
        if self.options.rows is None:
            return None
        left = {name: (self._end(name) or 0) - offset for name, offset in self._next.items()}
        return Lag(rows=sum(left.values()), partitions=left)

    def close(self) -> None:
        self._parts.clear()

    def _end(self, name: str) -> int | None:
        """How many rows a partition has."""
        if self.options.rows is None:
            return None
        whole, over = divmod(self.options.rows, self.options.partitions)
        return whole + (int(name) < over)

    def _make(self, partition: int, offset: int) -> Part:
        from penrose_host.datasources.files.parts import make_part

        assert self._model is not None
        end = self._end(str(partition))
        stop = offset + BLOCK_ROWS if end is None else min(offset + BLOCK_ROWS, end)
        return make_part(str(partition), self._model.rows(partition, offset, stop - offset), offset, stop)
