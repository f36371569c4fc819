"""Small real jobs, made of plugin objects instead of installed names."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from penrose_host.checkpoints import Checkpoint, CheckpointStore
from penrose_host.config.job import Job
from penrose_host.config.resolve import Resolved
from penrose_host.contracts.cluster import Role
from penrose_host.contracts.datasource import DataSource
from penrose_host.contracts.embedding import EmbeddingBackend
from penrose_host.contracts.environment import Environment, RunResult
from penrose_host.contracts.executor import Executor, FeatureSpec
from penrose_host.contracts.plugin import Plugin
from penrose_host.environments.local import LocalEnvironment
from penrose_host.monitoring.events import Listener
from penrose_host.plugins.index import Kind, Record
from penrose_host.plugins.selected import Selected
from penrose_host.testing.promises import Broken
from penrose_host.testing.toys import ToyExecutor, ToySource, features_of
from penrose_host.training.runtime import run
from penrose_host.training.signals import StopRequest

__all__ = ["TOY_FEATURES", "last_checkpoint", "predictions", "run_job", "small_job", "state"]

TOY_FEATURES = FeatureSpec(categorical=("user",), numeric=("price",), labels=("click",))


def small_job(
    run_dir: Path,
    *,
    environment: Environment | None = None,
    datasource: DataSource | None = None,
    executor: Executor | None = None,
    embedding: EmbeddingBackend | None = None,
    hooks: Sequence[Plugin] = (),
    spec: FeatureSpec = TOY_FEATURES,
    **sections: Any,
) -> Resolved:
    """A job of these plugins, toys where none is given, with a checkpoint each 30 rows; `sections` as in a job file."""
    local = LocalEnvironment(LocalEnvironment.Options())
    fields: dict[str, Any] = {
        "name": "contract",
        "datasource": "contract",
        "executor": "contract",
        "features": features_of(spec),
        "micro_batch": {"rows": 7, "event_time": None},
        "checkpoint": {"rows": 30, "seconds": None, "keep": 1000},
        "output": {"predictions": "predictions"},
        "run_dir": str(run_dir),
    }
    return Resolved(
        Job.model_validate(fields | sections),
        _selected(Kind.ENVIRONMENT, environment or local),
        _selected(Kind.DATASOURCE, datasource or ToySource.of(spec)),
        _selected(Kind.EXECUTOR, executor or ToyExecutor(ToyExecutor.Options())),
        _selected(Kind.EMBEDDING, embedding) if embedding is not None else None,
        tuple(_selected(Kind.HOOK, hook) for hook in hooks),
    )


def run_job(job: Resolved, seconds: float = 60.0, listeners: Iterable[Listener] = ()) -> RunResult:
    """Run it to its end. Raises `Broken` where it has not ended after so many seconds."""
    stop = StopRequest()
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    try:
        result = run(job, stop=stop, listeners=listeners)
    finally:
        timer.cancel()
        timer.join()
    if result.reason == "signal":
        raise Broken(
            f"a run of {result.rows} rows had not ended after {seconds:g} s.",
            "see that `read` gives every row, raises `EndOfStream` at the end, and `ended` names what is over.",
        )
    return result


def predictions(run_dir: Path) -> dict[str, list[int]]:
    """Partition → offsets of its scored rows, in the order in which they were scored."""
    import pyarrow.parquet as pq

    found: dict[str, list[int]] = {}
    for path in sorted((run_dir / "predictions").glob("*.parquet")):
        table = pq.read_table(path, columns=["_partition", "_offset"], partitioning=None)
        for name, offset in zip(*(column.to_pylist() for column in table.columns), strict=True):
            found.setdefault(name, []).append(offset)
    return found


def last_checkpoint(run_dir: Path) -> Checkpoint:
    """The newest checkpoint of a run, its files verified. Raises `Broken` where there is none."""
    store = CheckpointStore(run_dir / "checkpoints")
    checkpoint = store.latest()
    if checkpoint is None:
        raise Broken(f"the run directory {run_dir} has no checkpoint.", "leave to the host what is in there.")
    store.verify(checkpoint.manifest.id)
    return checkpoint


def state(run_dir: Path, parts: Sequence[str]) -> Mapping[str, bytes]:
    """Every file of these parts of the last checkpoint: `part/name` → content."""
    checkpoint = last_checkpoint(run_dir)
    readers = {part: checkpoint.reader(Role.CHIEF, 0, part) for part in parts}
    return {f"{part}/{name}": reader.read(name) for part, reader in readers.items() for name in reader.names()}


def _selected(kind: Kind, plugin: Plugin) -> Selected:
    """A plugin as if it had been found installed."""
    made = type(plugin)
    target = f"{made.__module__}:{made.__qualname__}"
    return Selected(Record(kind, made.__name__.lower(), "contract", "0", target), made, plugin.options)
