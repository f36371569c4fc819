"""The datasource `flights` keeps the promises of datasources, in one partition or in three."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest

from penrose_flights.data import load_flights
from penrose_flights.source import FlightsSource
from penrose_host.testing import DataSourceContract


@pytest.fixture(autouse=True, scope="module")
def parsed_once() -> Iterator[None]:
    """A contract opens its source about a hundred times, and all flights are parsed each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("penrose_flights.data.load_flights", cache(load_flights))
        yield


class TestOnePartition(DataSourceContract):
    def make(self) -> FlightsSource:
        return FlightsSource(FlightsSource.Options(rows=90))


class TestOnePartitionAnAirport(DataSourceContract):
    def make(self) -> FlightsSource:
        return FlightsSource(FlightsSource.Options(partitions="origin", rows=150))
