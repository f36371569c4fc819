"""The datasource `clickstream` keeps the promises of datasources, whether it ends or not."""

from __future__ import annotations

from penrose_host.datasources.clickstream.source import ClickstreamSource
from penrose_host.testing import DataSourceContract


class TestEndless(DataSourceContract):
    def make(self) -> ClickstreamSource:
        return ClickstreamSource(ClickstreamSource.Options(partitions=3, items=50, users=100))


class TestBounded(DataSourceContract):
    def make(self) -> ClickstreamSource:
        return ClickstreamSource(ClickstreamSource.Options(partitions=3, items=50, users=100, rows=100))
