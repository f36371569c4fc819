"""The hook `prometheus`: scraped over HTTP while a real run goes on, or read from its textfile."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from run_support import make_job, reports, selected

from penrose_host.monitoring.terminal import Terminal
from penrose_host.plugins.hook_calls import Hooks
from penrose_host.plugins.index import Kind, scan
from penrose_host.plugins.loading import load
from penrose_host.training.runtime import HostRuntime, run
from penrose_prometheus.hook import PrometheusHook

CLI = "import sys; from penrose_host.cli import main; sys.exit(main())"


Samples = dict[tuple[str, ...], float]


def samples(text: str) -> Samples:
    """(name, label values but the run's) → value; every sample has the run's name."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels.pop("run")
            found[sample.name, *sample.labels.values()] = sample.value
    return found


def scrape(address: str) -> Samples:
    with urlopen(address, timeout=30) as response:
        return samples(response.read().decode())


def report(rows: int, **values: Any) -> dict[str, Any]:
    counts = {f"{name}_rows": rows // 2 for name in ("trained", "waiting", "bad", "skipped")}
    return {"rows": rows, **counts, "steps": 3, "rows_per_second": 1.5, "loss": None, "window": None, **values}


# -- serving ---------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path, caplog):
    """The hooks of a run that has started, and the address that was logged."""
    hooks = Hooks()
    hooks.register("prometheus", PrometheusHook(PrometheusHook.Options()))
    with caplog.at_level(logging.INFO, "penrose"):
        hooks.run_started(HostRuntime(make_job(tmp_path)).spec, tmp_path)
    (record,) = caplog.records
    address = record.getMessage()
    yield hooks, address
    hooks.run_ended(None, None)
    assert hooks.failures == {}
    with pytest.raises(OSError):
        urlopen(address, timeout=30)


def test_before_the_first_report_nothing_was_measured(served):
    _, address = served
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", address)
    names = ("rows", "trained_rows", "bad_rows", "skipped_rows", "steps")
    assert scrape(address) == {(f"penrose_{name}_total",): 0 for name in names}


def test_every_scrape_shows_the_last_report_and_checkpoint(served):
    hooks, address = served
    hooks.reported(report(100, auc=0.6, time=5.0))
    hooks.checkpoint_written("00000007-e2")
    hooks.reported(report(300, auc=0.7, log_loss=0.4, loss=0.5, window={"auc": 0.9}, event_time=2_500_000, time=6.0))

    found = scrape(address)

    assert found["penrose_rows_total",] == 300
    assert found["penrose_trained_rows_total",] == found["penrose_waiting_rows",] == 150
    assert found["penrose_auc", "y", "total"] == 0.7
    assert found["penrose_auc", "y", "window"] == 0.9
    assert found["penrose_log_loss", "y", "total"] == 0.4
    assert found["penrose_loss",] == 0.5
    assert found["penrose_event_time_seconds",] == 2.5
    assert found["penrose_timestamp_seconds",] == 6.0
    assert found["penrose_checkpoint_sequence",] == 7
    assert 0 <= time.time() - found["penrose_checkpoint_timestamp_seconds",] < 60
    assert ("penrose_calibration", "y", "total") not in found


def test_the_lag_of_each_partition_is_a_gauge(served):
    hooks, address = served
    hooks.reported(report(1, lag={"rows": 12, "partitions": {"clicks/0": 5, "clicks/1": 7}}))
    found = scrape(address)
    assert (found["penrose_lag_rows", "clicks/0"], found["penrose_lag_rows", "clicks/1"]) == (5, 7)
    hooks.reported(report(2, lag=None))
    assert not [key for key in scrape(address) if "lag" in key[0]]


def test_several_labels_are_told_apart(served):
    hooks, address = served
    heads = {"click": {"auc": 0.7}, "buy": {"auc": None}}
    hooks.reported(report(1, auc=0.7, heads=heads))
    found = scrape(address)
    assert found["penrose_auc", "click", "total"] == 0.7
    assert not [key for key in found if "buy" in key]


def test_the_checkpoint_that_a_run_goes_on_from_is_known_and_its_age_is_not(served):
    hooks, address = served
    hooks.checkpoint_restored("00000012-e1")
    found = scrape(address)
    assert found["penrose_checkpoint_sequence",] == 12
    assert ("penrose_checkpoint_timestamp_seconds",) not in found


def with_hook(run_dir: Path, **options: Any) -> Any:
    return dataclasses.replace(make_job(run_dir), hooks=(selected(Kind.HOOK, PrometheusHook, options),))


def test_a_port_that_is_taken_is_told_and_stops_nothing(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run(with_hook(tmp_path, port=taken.getsockname()[1]), listeners=[Terminal("text")])
    assert result.rows == 1000
    assert "hook run_started of plugin prometheushook raised OSError" in capsys.readouterr().err


# -- a run of its own ------------------------------------------------------------------------------

EXECUTOR = """
import json
import numpy as np
from pydantic import BaseModel, ConfigDict
from penrose_host import Executor, FilesSnapshot, StepResult

class Steady(Executor):
    api_version = 1
    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
    def setup(self, context): pass
    def predict(self, batch): return {"click": np.linspace(0.1, 0.2, len(batch), dtype=np.float32)}
    def train(self, batch, step): return StepResult({"click": 0.7}, self.predict(batch))
    def snapshot(self): return FilesSnapshot({"state.json": b"{}"})
    def restore(self, reader): json.loads(reader.read("state.json"))
    def export(self, directory): pass
    def close(self): pass
"""
JOB = """\
name: endless
datasource: clickstream
executor: steady
features: {event_time: event_time, categorical: [user], labels: [click], known_at: click_known_at}
report: {rows: 1000}
checkpoint: {rows: 2000, seconds: null}
run_dir: run
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_endless_run_is_scraped_while_it_goes_on(site, log_format):
    site.add("penrose-steady", {"penrose.executors": {"steady": "steady:Steady"}}, {"steady": EXECUTOR})
    (site.path.parent / "job.yaml").write_text(JOB)
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", CLI, "run", "job.yaml", "-p", "prometheus", "--log-format", log_format],
        env=site.environ(OMP_NUM_THREADS="1"),
        cwd=site.path.parent,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        if log_format == "json":
            told = json.loads(said)
            assert (told["event"], told["plugin"], told["level"]) == ("log", "prometheus", "INFO")
            said = told["message"]
        address = said.removeprefix("prometheus: ").strip()
        until, found = time.monotonic() + 60, scrape(address)
        while ("penrose_checkpoint_sequence",) not in found or ("penrose_auc", "click", "window") not in found:
            assert time.monotonic() < until
            assert process.stderr.readline()  # a report, or the end
            found = scrape(address)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()

    assert process.returncode == 0
    assert found["penrose_rows_total",] >= 2000
    assert 0 <= found["penrose_auc", "click", "total"] <= 1
    lines = {line["rows"]: line for line in reports(site.path.parent / "run")}
    assert lines[int(found["penrose_rows_total",])]["trained_rows"] == found["penrose_trained_rows_total",]


# -- the textfile ----------------------------------------------------------------------------------


def test_a_run_leaves_its_last_report_and_checkpoint_in_the_textfile(tmp_path):
    file = tmp_path / "penrose.prom"
    result = run(with_hook(tmp_path / "run", textfile=str(file)))

    found = samples(file.read_text())
    last = reports(tmp_path / "run")[-1]
    assert found["penrose_rows_total",] == last["rows"] == 1000
    assert found["penrose_auc", "y", "total"] == pytest.approx(last["auc"])
    assert found["penrose_calibration", "y", "window"] == pytest.approx(last["window"]["calibration"])
    assert found["penrose_checkpoint_sequence",] == int(result.checkpoint.partition("-")[0])
    assert [path.name for path in tmp_path.iterdir()] in (["penrose.prom", "run"], ["run", "penrose.prom"])


def test_a_textfile_that_cannot_be_written_is_told_and_stops_nothing(tmp_path, capsys):
    result = run(with_hook(tmp_path, textfile=str(tmp_path / "gone" / "x.prom")), listeners=[Terminal("text")])
    assert result.rows == 1000
    assert "hook reported of plugin prometheushook raised FileNotFoundError" in capsys.readouterr().err


# -- the plugin ------------------------------------------------------------------------------------


def test_the_entry_point_leads_to_the_hook_and_importing_it_imports_no_server():
    (record,) = scan().find(Kind.HOOK, "prometheus")
    assert (record.dist, load(record)) == ("penrose-prometheus", PrometheusHook)
    code = (
        "import json, sys, penrose_prometheus.hook as hook\n"
        "hook.PrometheusHook(hook.PrometheusHook.Options())\n"
        "print(json.dumps([name for name in ('prometheus_client', 'http.server') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == []
