"""Native tables under the torch executor: chosen by name, whatever is installed, exported and learning."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from penrose_host import run
from penrose_host.config.layers import Flags
from penrose_host.config.resolve import load
from penrose_host.plugins.index import Index, Kind, scan
from penrose_host.plugins.selection import SelectionPolicy

MAIN_JOB = Path(__file__).parents[2] / "contrib" / "penrose-flights" / "job.yaml"
#: Scores rows with an exported model, where neither Penrose nor the extension can be imported.
SCORE = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].startswith("penrose"):
            raise ImportError(name)
sys.meta_path.insert(0, Refused())
import numpy, torch
model = torch.export.load(sys.argv[1]).module()
ids = torch.from_numpy(numpy.load(sys.argv[2]))
numpy.save(sys.argv[3], model(ids=ids, numeric={}, lists={})["clicked"].detach().numpy())
"""


def write_job(folder: Path, **changes: object) -> Path:
    random = np.random.default_rng(0)
    rows = {
        "ts": pa.array(np.arange(2000) * 1_000_000, pa.timestamp("us")),
        "user": random.integers(0, 300, 2000),
        "clicked": random.integers(0, 2, 2000),
    }
    pq.write_table(pa.table(rows), folder / "rows.parquet")
    job = {
        "name": "clicks",
        "datasource": {"name": "files", "path": str(folder / "rows.parquet")},
        "executor": {"name": "torch", "model": "fm", "width": 4},
        "features": {"event_time": "ts", "categorical": ["user"], "labels": ["clicked"]},
        "run_dir": str(folder / "run"),
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job | changes))
    return folder / "job.yaml"


def chosen(path: Path, flags: Flags | None = None, **how: object) -> str | None:
    embedding = load(path, flags, {}, **how).embedding  # type: ignore[arg-type]
    return embedding.record.name if embedding else None


def test_it_is_used_where_a_job_or_a_flag_names_it_and_not_because_it_is_installed(tmp_path: Path) -> None:
    path = write_job(tmp_path)
    records = [record for record in scan().records if (record.kind, record.name) != (Kind.EMBEDDING, "tfplus")]
    assert chosen(path) == chosen(path, policy=SelectionPolicy(index=Index(tuple(records)))) == "hashing"
    assert chosen(path, Flags(embedding="tfplus")) == "tfplus"
    assert chosen(write_job(tmp_path, embedding="tfplus")) == "tfplus"


@pytest.mark.parametrize("named", ["none", {"name": None}])
def test_a_job_that_wants_none_gets_none(tmp_path: Path, named: object) -> None:
    assert chosen(write_job(tmp_path, embedding=named)) is None


def test_a_flag_has_the_last_word(tmp_path: Path) -> None:
    assert chosen(write_job(tmp_path), Flags(embedding="hashing")) == "hashing"


def test_an_executor_without_a_preference_gets_none(tmp_path: Path) -> None:
    assert chosen(write_job(tmp_path, executor="river")) is None


@pytest.mark.slow
@pytest.mark.parametrize("admission", [None, {"count": 8}], ids=["all keys", "admitted keys"])
def test_an_export_scores_without_the_extension(tmp_path: Path, admission: object) -> None:
    embedding = {"name": "tfplus", "admission": admission}
    path = write_job(tmp_path, embedding=embedding, output={"export": "export", "predictions": "predictions"})
    resolved = load(path, None, {})
    run(resolved)
    from penrose_host.features.hashing import hash_words, murmur

    users = np.arange(0, 400)  # some were never seen
    seeds = np.array([murmur(b"user", 0)], np.uint64)
    ids = hash_words([users.astype(np.int64).view(np.uint64).reshape(-1, 1)], seeds)
    np.save(tmp_path / "ids.npy", ids)
    model = next((tmp_path / "run" / "export").rglob("model.pt2"))
    command = [sys.executable, "-c", SCORE, str(model), str(tmp_path / "ids.npy"), str(tmp_path / "scores.npy")]
    subprocess.run(command, check=True, timeout=120)
    found = np.load(tmp_path / "scores.npy")
    table = pa.table({"ts": pa.array(np.arange(400) * 1_000_000, pa.timestamp("us")), "user": users})
    pq.write_table(table.append_column("clicked", pa.array([None] * 400, pa.int64())), tmp_path / "rows.parquet")
    assert found.shape == (400,)
    from penrose_host.training.scoring import score

    score(load(path, None, {}), tmp_path / "scored")
    scored = pq.read_table(tmp_path / "scored").sort_by("_offset")["score"].to_numpy()
    np.testing.assert_allclose(found, scored, atol=1e-6)


@pytest.mark.slow
def test_the_main_job_learns_as_well(tmp_path: Path) -> None:
    resolved = load(MAIN_JOB, Flags(embedding="tfplus", run_dir=str(tmp_path / "run")), {})
    metrics = run(resolved).metrics
    assert metrics["auc"] >= 0.7475
    assert metrics["log_loss"] <= 0.4770
