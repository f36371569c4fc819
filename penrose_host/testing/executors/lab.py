"""One executor and its tables, without the rest of a run."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from penrose_host.contracts.batch import EncodedBatch, Position, StepInfo, StepResult
from penrose_host.contracts.cluster import ClusterSpec, Role
from penrose_host.contracts.embedding import EmbeddingBackend, EmbeddingTable, TableFactory, TableSpec
from penrose_host.contracts.executor import Executor, ExecutorContext, FeatureSpec
from penrose_host.contracts.snapshots import FilesSnapshot, Snapshot
from penrose_host.testing.memory import MemoryCheckpoints, MemoryReader

__all__ = ["Lab", "Saved", "reader", "written"]

#: `part/file` → content, of an executor and its tables.
Saved = Mapping[str, bytes]


class Lab:
    """Sets an executor up as the host does. Used with `with`, which closes it."""

    def __init__(self, executor: Executor, spec: FeatureSpec, backend: EmbeddingBackend | None, seed: int) -> None:
        self.executor = executor
        self._tables = None if backend is None else _Tables(backend)
        self._steps = 0
        context = ExecutorContext(spec, Role.CHIEF, 0, ClusterSpec.single(), seed=seed, tables=self._tables)
        executor.setup(context)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.executor.close()

    def train(self, batch: EncodedBatch) -> StepResult:
        """One step."""
        self._steps += 1
        return self.executor.train(batch, StepInfo(0, 1, self._steps, lambda: Position("contract")))

    def freeze(self) -> Mapping[str, Snapshot]:
        """Part → snapshot of this instant, nothing written yet."""
        parts = {"executor": self.executor.snapshot()}
        for name, table in self.tables.items():
            parts[f"tables/{name}"] = table.snapshot(None)
            table.aborted()
        return parts

    def save(self) -> Saved:
        """Everything that a checkpoint of this instant would hold."""
        return written(self.freeze())

    def load(self, saved: Saved) -> None:
        """Restore the executor and its tables, as the host does: the executor first."""
        self.executor.restore(reader(saved, "executor"))
        for name, table in self.tables.items():
            table.restore(reader(saved, f"tables/{name}"))

    @property
    def tables(self) -> Mapping[str, EmbeddingTable]:
        """Name → table, of those that the executor asked for."""
        return {} if self._tables is None else self._tables.made


class _Tables(TableFactory):
    def __init__(self, backend: EmbeddingBackend) -> None:
        self._backend = backend
        self.made: dict[str, EmbeddingTable] = {}

    def __call__(self, spec: TableSpec) -> EmbeddingTable:
        if spec.name not in self.made:
            self.made[spec.name] = self._backend.table(spec)
        return self.made[spec.name]


def written(parts: Mapping[str, Snapshot]) -> Saved:
    """The files of snapshots, each written on a thread of its own, as the host does."""
    saved: dict[str, bytes] = {}
    for part, snapshot in parts.items():
        checkpoints = MemoryCheckpoints()
        _write_aside(checkpoints, snapshot)
        saved |= {f"{part}/{name}": data for (_, name), data in checkpoints.files.items()}
    return saved


def _write_aside(checkpoints: MemoryCheckpoints, snapshot: Snapshot) -> None:
    """Write a snapshot on another thread; raises what that raises."""
    errors: list[BaseException] = []

    def write() -> None:
        try:
            checkpoints.write("saved", snapshot)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def reader(saved: Saved, part: str) -> MemoryReader:
    """A reader of one part."""
    checkpoints = MemoryCheckpoints()
    prefix = f"{part}/"
    files = {name.removeprefix(prefix): data for name, data in saved.items() if name.startswith(prefix)}
    return checkpoints.reader(checkpoints.write("saved", FilesSnapshot(files)))
