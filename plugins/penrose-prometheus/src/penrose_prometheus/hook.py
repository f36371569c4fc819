"""The hook `prometheus`: the last report of a run as metrics, served over HTTP or kept in a textfile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from penrose_host import HookPlugin, hookimpl

if TYPE_CHECKING:
    from penrose_host import RunSpec

__all__ = ["PrometheusHook"]


class PrometheusHook(HookPlugin):
    """Serves the last report of a run to Prometheus, or writes it to a file for the node exporter."""

    api_version: ClassVar[int] = 1

    class Options(BaseModel):
        """Where the metrics can be read."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        port: int = Field(default=0, ge=0, le=65535, description="Port of /metrics; 0: any that is free, logged.")
        host: str = Field(default="127.0.0.1", description="Address to serve on; only this machine sees the default.")
        textfile: str | None = Field(default=None, description="Write this file (*.prom) instead of serving.")

    def __init__(self, options: BaseModel) -> None:
        super().__init__(options)
        self._facts: dict[str, float] = {}
        self._report: Mapping[str, Any] = {}
        self._closing = ExitStack()
        self._keep: Callable[[], None] = lambda: None

    @hookimpl
    def run_started(self, spec: RunSpec) -> None:
        from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile

        self._run, self._head = spec.name, spec.job["features"]["labels"][0]["name"]
        registry = CollectorRegistry()
        registry.register(self)
        if self.options.textfile is not None:
            self._keep = lambda: write_to_textfile(self.options.textfile, registry)
            return
        server, thread = start_http_server(self.options.port, self.options.host, registry)
        for close in (thread.join, server.server_close, server.shutdown):  # in the reverse order
            self._closing.callback(close)
        logging.getLogger("penrose.prometheus").info("http://%s:%s/metrics", self.options.host, server.server_port)

    @hookimpl
    def reported(self, metrics: Mapping[str, Any]) -> None:
        self._report = metrics
        self._keep()

    @hookimpl
    def checkpoint_restored(self, checkpoint: str) -> None:
        self._facts = {"checkpoint_sequence": float(checkpoint.partition("-")[0])}

    @hookimpl
    def checkpoint_written(self, checkpoint: str) -> None:
        sequence = float(checkpoint.partition("-")[0])
        self._facts = {"checkpoint_sequence": sequence, "checkpoint_timestamp_seconds": time.time()}
        self._keep()

    @hookimpl
    def run_ended(self) -> None:
        self._closing.close()

    def collect(self) -> Iterator[Any]:
        """What Prometheus reads, from a thread of the server; called by the registry."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        report, facts = self._report, self._facts
        for name in ("rows", "trained_rows", "bad_rows", "skipped_rows", "steps"):
            counter = CounterMetricFamily(f"penrose_{name}", f"{name} since the stream's start", labels=["run"])
            counter.add_metric([self._run], report.get(name, 0))
            yield counter
        event_time, gauges = report.get("event_time"), {"timestamp_seconds": report.get("time"), **facts}
        gauges |= {name: report.get(name) for name in ("waiting_rows", "rows_per_second", "loss")}
        gauges["event_time_seconds"] = None if event_time is None else event_time / 1e6
        for name, value in gauges.items():
            if value is not None:
                gauge = GaugeMetricFamily(f"penrose_{name}", f"{name} as last reported", labels=["run"])
                gauge.add_metric([self._run], value)
                yield gauge
        lag = GaugeMetricFamily("penrose_lag_rows", "rows not yet read", labels=["run", "partition"])
        for partition, rows in ((report.get("lag") or {}).get("partitions") or {}).items():
            lag.add_metric([self._run, partition], rows)
        yield lag
        for name in ("auc", "log_loss", "calibration"):
            measure = GaugeMetricFamily(f"penrose_{name}", f"progressive {name}", labels=["run", "head", "over"])
            for over, values in (("total", report), ("window", report.get("window") or {})):
                for head, of_head in values.get("heads", {self._head: values}).items():
                    if of_head.get(name) is not None:
                        measure.add_metric([self._run, head, over], of_head[name])
            yield measure
