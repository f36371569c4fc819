"""The datasource `flights`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from penrose_host import API_VERSION, OFFSET, PARTITION, Capability, Chunk, DataSource, EndOfStream, Lag, WrongStream

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = ["FlightsOptions", "FlightsSource"]

ORIGINS = ("EWR", "JFK", "LGA")


class FlightsOptions(BaseModel):
    """The flights that left New York in 2013, by scheduled departure, carrier, flight, origin."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partitions: Literal["one", "origin"] = Field(
        default="one", description="one partition, `flights`; or one for each airport of origin: EWR, JFK, LGA"
    )
    rows: int | None = Field(default=None, ge=0, description="only the first so many flights; by default all 327,346")


class FlightsSource(DataSource):
    """The flights that left New York in 2013, in order; of several partitions, the one whose next flight is first."""

    api_version: ClassVar[int] = API_VERSION
    Options = FlightsOptions
    capabilities = frozenset({Capability.SEEK})

    options: FlightsOptions

    def __init__(self, options: FlightsOptions) -> None:
        super().__init__(options)
        self._tables: dict[str, pa.RecordBatch] = {}
        self._departures: dict[str, np.ndarray] = {}
        self._next: dict[str, int] = {}
        self._paused: frozenset[str] = frozenset()

    @property
    def source_id(self) -> str:
        from penrose_flights.data import data_distribution

        # Without `rows`: the first flights are the beginning of all flights.
        data = data_distribution()
        return f"flights:{data.name}-{data.version}:{self.options.partitions}"

    def partitions(self) -> Sequence[str]:
        return ["flights"] if self.options.partitions == "one" else list(ORIGINS)

    def open(self, assignment: Mapping[str, int | None]) -> None:
        if not self._tables:
            self._load()
        for name, offset in assignment.items():
            if name not in self._tables:
                raise WrongStream(f"there is no partition {name!r}: the flights have {', '.join(self._tables)}")
            rows = self._tables[name].num_rows
            if not 0 <= (offset or 0) <= rows:
                raise WrongStream(
                    f"partition {name!r} of the flights cannot start at offset {offset}: it has {rows} rows",
                    hint="raise the option `rows`, or start a new run in another run directory",
                )
            self._next.setdefault(name, offset or 0)

    def read(self, max_rows: int, timeout: float) -> Chunk | None:  # noqa: ARG002 - all rows are in memory
        unfinished = self._next.keys() - self.ended()
        if not unfinished:
            raise EndOfStream
        ready = unfinished - self._paused
        if not ready:
            return None
        name = min(ready, key=lambda name: (self._departures[name][self._next[name]], name))
        batch = self._tables[name].slice(self._next[name], max_rows)
        self._next[name] += batch.num_rows
        return Chunk(batch)

    def pause(self, partitions: Collection[str]) -> None:
        self._paused = frozenset(partitions)

    def ended(self) -> set[str]:
        return {name for name, offset in self._next.items() if offset == self._tables[name].num_rows}

    def lag(self) -> Lag | None:
        left = {name: self._tables[name].num_rows - offset for name, offset in self._next.items()}
        return Lag(rows=sum(left.values()), partitions=left)

    def close(self) -> None:
        self._tables.clear()
        self._departures.clear()
        self._next.clear()

    def _load(self) -> None:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        from penrose_flights.data import load_flights

        flights = load_flights().slice(0, self.options.rows)
        for name in self.partitions():
            own = flights if name == "flights" else flights.filter(pc.equal(flights.column("origin"), name))
            zeros = pa.array(np.zeros(own.num_rows, dtype=np.int32))
            columns = {field.name: column for field, column in zip(own.schema, own.columns, strict=True)}
            columns[PARTITION] = pa.DictionaryArray.from_arrays(zeros, pa.array([name]))
            columns[OFFSET] = pa.array(np.arange(own.num_rows, dtype=np.int64))
            self._tables[name] = pa.RecordBatch.from_pydict(columns)
            self._departures[name] = own.column("sched_dep").cast(pa.int64()).to_numpy()
