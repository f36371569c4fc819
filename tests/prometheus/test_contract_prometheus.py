"""The hook `prometheus` keeps the promises of hooks, serving and writing."""

from __future__ import annotations

import pytest

from penrose_host.testing import HookContract
from penrose_prometheus.hook import PrometheusHook


class TestServing(HookContract):
    def make(self) -> PrometheusHook:
        return PrometheusHook(PrometheusHook.Options())


class TestTextfile(HookContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.file = tmp_path_factory.mktemp("textfile") / "penrose.prom"

    def make(self) -> PrometheusHook:
        return PrometheusHook(PrometheusHook.Options(textfile=str(self.file)))
