"""The toys of the kit keep every promise: they are what a good plugin looks like."""

from __future__ import annotations

from penrose_host.testing import DataSourceContract, ExecutorContract
from penrose_host.testing.toys import ToyExecutor, ToySource


class TestToySource(DataSourceContract):
    def make(self) -> ToySource:
        return ToySource(ToySource.Options(lists=("tags",)))


class TestToyExecutor(ExecutorContract):
    def make(self) -> ToyExecutor:
        return ToyExecutor(ToyExecutor.Options())
