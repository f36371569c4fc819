"""A source in memory, and jobs made of classes instead of installed plugins."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import BaseModel
from rows_support import ScribeExecutor

from penrose_host import Capability, Chunk, DataSource, EndOfStream, Position, Reject
from penrose_host.checkpoints import CheckpointStore
from penrose_host.config.job import Job
from penrose_host.config.resolve import Resolved
from penrose_host.contracts.cluster import Role
from penrose_host.contracts.embedding import EmbeddingBackend
from penrose_host.contracts.executor import Executor
from penrose_host.contracts.plugin import Plugin
from penrose_host.environments.local import LocalEnvironment
from penrose_host.plugins.index import Kind, Record
from penrose_host.plugins.selected import Selected

FEATURES: dict[str, Any] = {
    "event_time": {"column": "t", "unit": "us"},
    "categorical": ["row"],
    "labels": ["y"],
    "known_at": {"column": "known", "unit": "us"},
}


class MemoryOptions(BaseModel):
    """`rows` of them in each of `partitions`, one a microsecond; `bad`: offsets of partition p0 to reject."""

    model_config = {"extra": "forbid"}
    rows: int = 500
    partitions: int = 2
    bad: tuple[int, ...] = ()
    stream: str = "memory"
    chunk: int = 64


class MemorySource(DataSource):
    """Deterministic rows with late labels; `commits` holds what it was told, with the manifests there were then."""

    api_version = 1
    Options = MemoryOptions
    capabilities = frozenset({Capability.SEEK, Capability.COMMIT})
    commits: ClassVar[list[Position]] = []

    @property
    def source_id(self) -> str:
        return str(self.options.stream)

    def partitions(self) -> Sequence[str]:
        return [f"p{number}" for number in range(self.options.partitions)]

    def open(self, assignment: Mapping[str, int | None]) -> None:
        self._next = {name: offset or 0 for name, offset in assignment.items()}
        self._paused: frozenset[str] = frozenset()

    def pause(self, partitions: Collection[str]) -> None:
        self._paused = frozenset(partitions)

    def ended(self) -> Collection[str]:
        return [name for name, offset in self._next.items() if offset >= self.options.rows]

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        for name, offset in self._next.items():
            if name in self._paused or offset >= self.options.rows:
                continue
            stop = min(offset + min(self.options.chunk, max_rows), self.options.rows)
            self._next[name] = stop
            bad = [o for o in range(offset, stop) if o in self.options.bad and name == "p0"]
            return Chunk(
                batch(name, [o for o in range(offset, stop) if o not in bad]),
                tuple(Reject(name, o, "made bad", b"{oops") for o in bad),
            )
        raise EndOfStream

    def commit(self, position: Position) -> None:
        MemorySource.commits.append(position)

    def close(self) -> None:
        pass


def batch(partition: str, offsets: list[int]) -> pa.RecordBatch:
    """The rows of a partition at these offsets."""
    number = int(partition[1:])
    times = [offset * 3 + number for offset in offsets]
    return pa.record_batch(
        {
            "_partition": pa.array([partition] * len(offsets), pa.string()),
            "_offset": pa.array(offsets, pa.int64()),
            "row": pa.array([number * 1_000_000 + offset for offset in offsets], pa.int64()),
            "t": pa.array(times, pa.int64()),
            "known": pa.array([t + 10 + t * 7919 % 97 for t in times], pa.int64()),
            "y": pa.array([None if t % 11 == 0 else t % 3 == 0 for t in times], pa.bool_()),
        }
    )


def selected(kind: Kind, plugin: type[Plugin], options: Mapping[str, Any]) -> Selected:
    """A plugin as if it had been found installed."""
    record = Record(kind, plugin.__name__.lower(), f"{plugin.__module__}:{plugin.__qualname__}", "tests", "0")
    return Selected(record, plugin, plugin.Options(**options))


def make_job(
    run_dir: Path,
    *,
    source: Mapping[str, Any] | None = None,
    executor: type[Executor] = ScribeExecutor,
    embedding: type[EmbeddingBackend] | None = None,
    hooks: Sequence[type[Plugin]] = (),
    datasource: type[DataSource] = MemorySource,
    **job: Any,
) -> Resolved:
    """A job over `datasource` that runs in `run_dir`."""
    fields: dict[str, Any] = {
        "name": "test",
        "datasource": "memory",
        "executor": "scribe",
        "features": FEATURES,
        "micro_batch": {"rows": 16, "event_time": None},
        "report": {"rows": 100},
        "checkpoint": {"rows": 200, "seconds": None},
        "run_dir": str(run_dir),
    }
    return Resolved(
        Job.model_validate(fields | job),
        selected(Kind.ENVIRONMENT, LocalEnvironment, {}),
        selected(Kind.DATASOURCE, datasource, source or {}),
        selected(Kind.EXECUTOR, executor, {}),
        selected(Kind.EMBEDDING, embedding, {}) if embedding else None,
        tuple(selected(Kind.HOOK, hook, {}) for hook in hooks),
    )


def reports(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, without what the clock says."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("time", "rows_per_second", "lag")} for line in lines]


def predictions(run_dir: Path, folder: str = "predictions") -> list[dict[str, Any]]:
    """Every row of the predictions, in the order of the parts."""
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = []
    for path in sorted((run_dir / folder).glob("*.parquet")):
        rows += pq.read_table(path, partitioning=None).to_pylist()
    return rows


def final_state(run_dir: Path) -> dict[str, bytes]:
    """The executor's and the trainer's files of the last checkpoint."""
    checkpoint = CheckpointStore(run_dir / "checkpoints").latest()
    assert checkpoint is not None
    files = {}
    for part in ("executor", "trainer", "metrics"):
        reader = checkpoint.reader(Role.CHIEF, 0, part)
        files |= {f"{part}/{name}": reader.read(name) for name in reader.names()}
    return files
