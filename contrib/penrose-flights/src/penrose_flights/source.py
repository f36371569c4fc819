"""The datasource `flights`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from penrose_host import API_VERSION, Capability, PartitionedSource

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


class FlightsSource(PartitionedSource):
    """The flights that left New York in 2013, in order; of several partitions, the one whose next flight is first."""

    api_version: ClassVar[int] = API_VERSION
    Options = FlightsOptions
    capabilities = frozenset({Capability.SEEK})

    options: FlightsOptions

    def __init__(self, options: FlightsOptions) -> None:
        super().__init__(options)
        self._flights: dict[str, pa.RecordBatch] = {}
        self._departures: dict[str, np.ndarray] = {}

    @property
    def source_id(self) -> str:
        from penrose_flights.data import data_distribution

        # Without `rows`: the first flights are the beginning of all flights.
        data = data_distribution()
        return f"flights:{data.name}-{data.version}:{self.options.partitions}"

    def partitions(self) -> Sequence[str]:
        return ["flights"] if self.options.partitions == "one" else list(ORIGINS)

    def end(self, partition: str) -> int:
        if not self._flights:
            self._load()
        return int(self._flights[partition].num_rows)

    def turn(self, partition: str, offset: int) -> int:
        """Scheduled departure of the next flight, in microseconds since 1970."""
        return int(self._departures[partition][offset])

    def rows(self, partition: str, offset: int, max_rows: int) -> pa.RecordBatch:
        return self._flights[partition].slice(offset, max_rows)

    def close(self) -> None:
        super().close()
        self._flights.clear()
        self._departures.clear()

    def _load(self) -> None:
        import pyarrow.compute as pc

        from penrose_flights.data import load_flights

        flights = load_flights().slice(0, self.options.rows)
        for name in self.partitions():
            own = flights if name == "flights" else flights.filter(pc.equal(flights.column("origin"), name))
            self._flights[name] = own
            self._departures[name] = own.column("sched_dep").cast("int64").to_numpy()
