"""One run with each distribution, by the command line, as it is installed: also of wheels, by `nox -s wheels`."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_blocks import DISTRIBUTIONS
from kafka_broker import Broker

ROWS = 400
CLICKS: Mapping[str, Any] = {
    "name": "clicks",
    "datasource": {"name": "clickstream", "rows": ROWS},
    "executor": "sklearn",
    "embedding": "none",
    "features": {
        "event_time": "event_time",
        "categorical": ["user", "item"],
        "numeric": ["price"],
        "labels": ["click"],
        "known_at": "click_known_at",
    },
    "micro_batch": {"rows": 100},
    "output": {"predictions": "predictions", "export": "model"},
}
HASHING = {"name": "hashing", "rows": 1000}
FLIGHTS = {
    "event_time": "sched_dep",
    "known_at": "label_known_at",
    "labels": [{"name": "late", "column": "arr_delay", "at_least": 15}],
    "categorical": ["carrier", "origin"],
}
TABLED = """\
import keras
from penrose_tfplus_tensorflow import Embedding, Model


class Tabled(Model):
    def __init__(self, features):
        super().__init__()
        self.names = features.categorical
        self.table = Embedding(4, options={"initializer": "normal"})
        self.out = keras.layers.Dense(1, activation="sigmoid")

    def call(self, inputs, training=False):
        rows = [self.table(inputs[name], training=training) for name in self.names]
        return self.out(keras.ops.concatenate(rows, 1))


def model(features, width):
    made = Tabled(features)
    made.compile("sgd", "binary_crossentropy")
    return made
"""
#: Distribution → what its job has that the others have not, and what the run leaves in its directory.
JOBS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "penrose-host": ({"hooks": ["auc-guard"]}, "predictions/part-000000.parquet"),
    "penrose-torch": ({"executor": "torch", "embedding": HASHING}, "model/*"),
    "penrose-tensorflow": ({"executor": "tensorflow", "embedding": HASHING}, "model/*"),
    "penrose-tensorboard": ({"hooks": ["tensorboard"]}, "tensorboard/events.out.tfevents.*"),
    "penrose-prometheus": ({"hooks": [{"name": "prometheus", "textfile": "run/last.prom"}]}, "last.prom"),
    "penrose-kafka": ({}, "predictions/*"),
    "penrose-flights": ({"datasource": {"name": "flights", "rows": ROWS}, "features": FLIGHTS}, "predictions/*"),
    "penrose-river": ({"executor": "river"}, "model/*"),
    "penrose-sklearn": ({"executor": "sklearn"}, "model/*"),
    "penrose-tfplus": ({"executor": "torch", "embedding": "tfplus"}, "checkpoints/*/chief-0/tables/*/*"),
    "penrose-tfplus-tensorflow": (
        {"executor": {"name": "tensorflow", "model": "tabled:model", "loop": "fit"}},
        "model/*",
    ),
}


def penrose(folder: Path, *arguments: str) -> str:
    code = "import sys; from penrose_host.cli import main; sys.exit(main())"
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_every_distribution_has_a_run() -> None:
    assert {tomllib.loads(path.read_text("utf-8"))["project"]["name"] for path in DISTRIBUTIONS} == set(JOBS)


@pytest.mark.parametrize("distribution", JOBS)
def test_a_run(distribution: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, left = JOBS[distribution]
    (tmp_path / "tabled.py").write_text(TABLED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({**CLICKS, **changes, "run_dir": "run"}))
    with kafka(tmp_path) if distribution == "penrose-kafka" else nullcontext(()) as options:
        shown = penrose(tmp_path, "run", "job.yaml", *options)
    assert "Traceback" not in shown
    last = json.loads((tmp_path / "run/metrics.jsonl").read_text("utf-8").splitlines()[-1])
    assert (last["final"], last["rows"]) == (True, ROWS)
    assert last["trained_rows"] > ROWS / 2
    assert list((tmp_path / "run").glob(left))


@contextmanager
def kafka(folder: Path) -> Iterator[list[str]]:
    """A broker that holds the rows of the clickstream; yields the options that read them."""
    with Broker() as broker:
        topic = broker.create_topic("clicks", 2)
        place = ("-o", f"sink.brokers={broker.address}", "--topic", topic)
        penrose(folder, "replay", "job.yaml", "--to", "kafka", *place)
        read = {"name": "kafka", "brokers": broker.address, "topics": topic, "end": "now"}
        yield ["-o", f"datasource={json.dumps(read)}"]
