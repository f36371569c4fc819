"""Jobs to break: four files of rows with late labels, and what must be equal when two runs ended the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import yaml

from penrose_host.checkpoints import CheckpointStore
from penrose_host.config.resolve import load
from penrose_host.contracts.cluster import ClusterSpec, Role
from penrose_host.embeddings.tensorfile import decode
from penrose_host.testing.memory import MemoryCheckpoints
from penrose_host.training.model import build

__all__ = [
    "FILES",
    "ROWS",
    "TENSORFLOW",
    "TFPLUS",
    "TORCH",
    "check_same_end",
    "letters",
    "make_files",
    "messages",
    "predictions",
    "reports",
    "state",
    "tables",
    "write_job",
]

#: Rows of one file; the files' times run side by side, and they hold the same times now and then.
ROWS = 6000
FILES = ("a.parquet", "b.csv", "c.parquet", "d.csv")
START = datetime(2024, 1, 1, tzinfo=UTC)
FEATURES: Mapping[str, Any] = {
    "event_time": "ts",
    "categorical": ["user", "item"],
    "crosses": [["user", "item"]],
    "numeric": ["row", {"column": "price", "transform": "log1p"}],
    "labels": ["clicked"],
    "known_at": "known",
}
#: Sections of a job that trains with PyTorch, its embeddings in a table of the host's.
TORCH: Mapping[str, Any] = {
    "executor": {"name": "staged-torch", "model": "logistic", "optimizer": {"name": "adagrad", "learning_rate": 0.1}},
    "embedding": {"name": "hashing", "rows": 1 << 14},
}
#: A job that trains with TensorFlow: a network, so that there are dense parameters with an optimizer of their own.
TENSORFLOW: Mapping[str, Any] = {
    "executor": {"name": "staged-tensorflow", "model": "deepfm", "width": 4, "hidden": [8]},
    "embedding": {"name": "hashing", "rows": 1 << 14},
}
#: PyTorch with native tables: most keys are seen too seldom to become rows, and rows go 900 seconds after their last.
TFPLUS: Mapping[str, Any] = {
    "executor": TORCH["executor"],
    "embedding": {
        "name": "tfplus",
        "threads": 2,
        "admission": {"count": 2},
        "eviction": {"max_age": "900s", "every": 10},
    },
    "checkpoint": {"rows": 600, "seconds": None, "keep": 2},
}


@cache
def table(number: int, rows: int = ROWS) -> pa.Table:
    """The rows of one file: `row` is unique in all files; labels come late, some never; a few rows are out of order."""
    random = np.random.default_rng(number)
    seconds = np.arange(rows) // 2 + random.integers(0, 3, rows)
    late = random.integers(0, 900, rows)
    clicked = random.random(rows) < 0.3
    return pa.table(
        {
            "row": pa.array(np.arange(rows) * len(FILES) + number),
            "ts": _times(seconds),
            "known": _times(seconds + late),
            "user": pa.array([f"u{user}" for user in random.zipf(1.3, rows) % 500]),
            "item": pa.array(random.integers(0, 200, rows)),
            "price": pa.array(random.random(rows).round(3) * 100),
            "clicked": pa.array(clicked.astype(np.int64), mask=random.random(rows) < 0.03),
        }
    )


def messages(number: int) -> list[bytes]:
    """The rows of one file as JSON messages, times as ISO 8601."""
    return [json.dumps(row, default=datetime.isoformat).encode() for row in table(number).to_pylist()]


def _times(seconds: Any) -> pa.Array:
    return pa.array([START + timedelta(seconds=int(second)) for second in seconds], pa.timestamp("us", "UTC"))


def make_files(folder: Path, rows: int = ROWS, bad_every: int | None = None) -> Path:
    """Write the four files; returns their folder. `bad_every`: so many good lines of a CSV file, then a bad one."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(FILES):
        if name.endswith(".csv"):
            pyarrow.csv.write_csv(table(number, rows), folder / name)
            if bad_every is not None:
                _spoil(folder / name, bad_every)
        else:
            pq.write_table(table(number, rows), folder / name, row_group_size=1000)
    return folder


def _spoil(path: Path, every: int) -> None:
    """Bad lines between good ones, before the first and behind the last."""
    header, *lines = path.read_text().splitlines()
    with path.open("w") as file:
        file.write(header + "\n")
        for number, line in enumerate(lines):
            if number % every == 0:
                file.write(f"{number},too few fields\n")
            file.write(line + "\n")
        file.write("the end\n" * 3)


def letters(run_dir: Path) -> list[tuple[str, int, str, str]]:
    """The dead letters, each once: their order is that in which places were settled, which is chance."""
    lines = [json.loads(line) for line in (run_dir / "dead-letter.jsonl").read_text().splitlines()]
    found = sorted((line["partition"], line["offset"], line["reason"], line["raw"]) for line in lines)
    assert len({letter[:2] for letter in found}) == len(found)
    return found


def write_job(path: Path, data: Path, run_dir: Path, **changes: Any) -> Path:
    """A job over the files in `data`; `changes` replace its sections."""
    job: dict[str, Any] = {
        "name": path.stem,
        "datasource": {"name": "staged-files", "path": [str(data / "*")], "batch_rows": 700},
        "executor": {"name": "counting", "rows": ROWS * len(FILES)},
        "features": dict(FEATURES),
        "hooks": ["staged"],
        "micro_batch": {"rows": 64, "event_time": None},
        "report": {"rows": 1000},
        "checkpoint": {"rows": 1000, "seconds": None, "keep": 2},
        "output": {"predictions": "predictions"},
        "run_dir": str(run_dir),
    }
    path.write_text(yaml.safe_dump(job | changes))
    return path


def reports(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, without what the clock says."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    clock = ("time", "rows_per_second", "lag")
    return [{name: value for name, value in line.items() if name not in clock} for line in lines]


def predictions(run_dir: Path) -> pa.Table:
    """All rows of the predictions, in the order of the parts."""
    paths = sorted((run_dir / "predictions").iterdir())
    assert [path.name for path in paths] == [f"part-{number:06d}.parquet" for number in range(len(paths))]
    return pa.concat_tables([pq.read_table(path, partitioning=None) for path in paths]).combine_chunks()


def check_same_end(one: Path, other: Path) -> None:
    """Two runs ended the same: byte for byte in their state, row for row in what they wrote."""
    assert state(one) == state(other)
    assert predictions(one).equals(predictions(other))
    assert reports(one) == reports(other)


def tables(job: Path) -> dict[str, dict[str, bytes]]:
    """Name → the content of a whole snapshot of each embedding table, restored from the run's last checkpoint.

    The checkpoints of two runs hold a table in other pieces, rows in another order: what they amount to is compared.
    """
    found = {}
    resolved = load(job)
    checkpoint = CheckpointStore(resolved.job.run_directory / "checkpoints").latest()
    with ExitStack() as stack:
        model = build(stack, resolved, Role.CHIEF, 0, ClusterSpec.single())
        assert model.tables is not None
        assert checkpoint is not None
        model.restore(checkpoint, Role.CHIEF, 0)
        for name, table in model.tables.items().items():
            memory = MemoryCheckpoints()
            reader = memory.reader(memory.write("whole", table.snapshot(None)))
            found[name] = _by_key({file: reader.read(file) for file in reader.names()})
    return found


def _by_key(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """What files of native tables hold, whatever order it was written in; files of other tables as they are."""
    found: dict[str, bytes] = {}
    rows: list[dict[str, Any]] = []
    for name, data in files.items():
        tensors, metadata = decode(data)
        if "keys" in tensors:
            rows.append(tensors)
        elif "candidates" in tensors:
            assert not len(tensors.pop("deleted"))
            found |= _sorted(tensors, "candidates") | {"counters": metadata["counters"].encode()}
        else:
            found[name] = data
    if rows:
        found |= _sorted({name: np.concatenate([part[name] for part in rows]) for name in rows[0]}, "keys")
    return found


def _sorted(tensors: Mapping[str, Any], by: str) -> dict[str, bytes]:
    order = np.argsort(tensors[by])
    return {name: array[order].tobytes() for name, array in tensors.items()}


def state(run_dir: Path) -> dict[str, bytes]:
    """The files of executor, core and metrics in the last checkpoint."""
    store = CheckpointStore(run_dir / "checkpoints")
    checkpoint = store.latest()
    assert checkpoint is not None
    store.verify(checkpoint.manifest.id)
    files = {}
    for part in ("executor", "trainer", "metrics"):
        reader = checkpoint.reader(Role.CHIEF, 0, part)
        files |= {f"{part}/{name}": reader.read(name) for name in reader.names()}
    return files
