"""A trained job's scores are the same however they are asked for: `predict`, an export, the executor itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from executor_suite.exports import Scored
from penrose_host import Job, Resolved, export_checkpoint, resolve, run, score
from penrose_host.checkpoints import CheckpointStore
from penrose_host.core.rows import Rows
from penrose_host.features.config import FeaturesConfig
from penrose_host.features.encoder import FeatureEncoder
from penrose_host.training.model import restore

STREAM = {"name": "clickstream", "rows": 3000, "partitions": 2, "label_delay": "1s"}


def job(executor: str, run_dir: Path, embedding: Any, **changes: Any) -> Resolved:
    fields = {
        "name": "clicks",
        "datasource": STREAM,
        "executor": {"name": executor, "model": "deepfm", "embedding_rows": 1000 if embedding == "none" else None},
        "embedding": embedding,
        "features": {
            "event_time": "event_time",
            "categorical": ["user", "item"],
            "crosses": [["item", "category"]],
            "lists": ["history"],
            "numeric": ["price"],
            "labels": ["click"],
            "known_at": "click_known_at",
        },
        "micro_batch": {"rows": 64},
        "checkpoint": {"rows": 1000, "seconds": None},
        "output": {"predictions": "predictions"},
        "run_dir": str(run_dir),
        **changes,
    }
    if embedding != "none":
        del fields["executor"]["embedding_rows"]
    return resolve(Job.model_validate(fields))


def stream(resolved: Resolved) -> Rows:
    """Every row of the stream, encoded."""
    source = resolved.datasource.create()
    encoder = FeatureEncoder(resolved.job.features)
    parts = []
    source.open(dict.fromkeys(source.partitions()))
    rows = 0
    while rows < 3000:
        chunk = source.read(10_000, 1.0)
        part, _ = encoder.encode(chunk)
        names = ("0", "1")
        codes = np.array([names.index(name) for name in part.names], dtype=np.int32)
        parts.append(part.with_partitions(names, codes[part.partition]))
        rows += len(part)
    source.close()
    return Rows.concat(parts)


def predicted(folder: Path) -> dict[tuple[str, int], float]:
    table = pq.read_table(folder, partitioning=None)
    places = zip(table["_partition"].to_pylist(), table["_offset"].to_pylist(), strict=True)
    return dict(zip(places, table["score"].to_pylist(), strict=True))


class Serving:
    @pytest.mark.parametrize("embedding", [{"name": "hashing", "rows": 5000}, "none"])
    def test_predict_an_export_and_the_executor_give_the_same_scores(
        self, lab: Any, served: Callable[[Path], Scored], tmp_path: Path, embedding: Any
    ) -> None:
        resolved = job(lab.name, tmp_path / "run", embedding)
        run(resolved)
        scored = predicted(score(resolved, tmp_path / "scored").output)
        assert len(scored) == 3000

        rows = stream(resolved)
        with ExitStack() as stack:
            checkpoint = CheckpointStore(tmp_path / "run" / "checkpoints").latest()
            assert checkpoint is not None
            given = restore(stack, resolved, checkpoint).executor.predict(rows.batch())["click"]

        export_checkpoint(resolved, tmp_path / "model")
        exported = served(tmp_path / "model")(rows.batch())["click"]

        places = [(rows.names[p], int(o)) for p, o in zip(rows.partition, rows.offset, strict=True)]
        by_predict = np.array([scored[place] for place in places])
        assert by_predict.std() > 0.01
        np.testing.assert_allclose(by_predict, given, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(by_predict, exported, rtol=1e-5, atol=1e-6)

    def test_raw_columns_and_an_export_are_enough_to_score(
        self, lab: Any, served: Callable[[Path], Scored], tmp_path: Path
    ) -> None:
        features = {
            "event_time": "event_time",
            "time_zone": "America/New_York",
            "categorical": ["user", {"name": "thing", "column": "item"}, {"event_time": "hour"}],
            "crosses": [["thing", "category"], {"name": "when", "of": ["category", "hour"]}],
            "lists": [{"column": "history", "combiner": "sum", "max_length": 2}],
            "numeric": [{"name": "paid", "column": "price", "default": 3.0, "transform": "log1p"}],
            "labels": ["click"],
            "known_at": "click_known_at",
        }
        resolved = job(lab.name, tmp_path / "run", {"name": "hashing", "rows": 5000}, features=features)
        run(resolved)
        scored = predicted(score(resolved, tmp_path / "scored").output)
        export_checkpoint(resolved, tmp_path / "model")

        source = resolved.datasource.create()
        source.open(dict.fromkeys(source.partitions()))
        raw = source.read(500, 1.0).batch
        source.close()

        described = json.loads((tmp_path / "model" / "features.json").read_text("utf-8"))
        encoder = FeatureEncoder(FeaturesConfig.model_validate(described["features"]["recipe"]))
        batch = encoder.encode_columns({name: raw[name] for name in raw.schema.names if "click" not in name})
        exported = served(tmp_path / "model")(batch)["click"]
        places = zip(raw["_partition"].to_pylist(), raw["_offset"].to_pylist(), strict=True)
        expected = np.array([scored[place] for place in places])
        assert expected.std() > 0.01
        np.testing.assert_allclose(exported, expected, rtol=1e-5, atol=1e-6)

    def test_predict_gives_what_a_run_gives_on_arrival_while_it_learns_nothing(
        self, lab: Any, served: Callable[[Path], Scored], tmp_path: Path
    ) -> None:
        never = {**STREAM, "label_delay": "365d"}
        embedding = {"name": "hashing", "rows": 5000}
        waiting = job(lab.name, tmp_path / "run", embedding, datasource=never, until={"rows": 2900})
        assert run(waiting).trained_rows == 0
        on_arrival = predicted(tmp_path / "run" / "predictions")
        scored = predicted(score(waiting, tmp_path / "scored").output)
        assert scored.keys() <= on_arrival.keys()
        assert len(scored) == 2900
        places = sorted(scored)
        given = np.array([scored[place] for place in places])
        assert given.std() > 1e-4
        np.testing.assert_allclose(given, [on_arrival[place] for place in places], rtol=1e-5, atol=1e-6)
