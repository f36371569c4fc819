"""The embedding tables of a job: made by its backend, used by its executor, checkpointed by the host."""

from __future__ import annotations

from collections.abc import Mapping

from penrose_host.checkpoints import Checkpoint, Manifest
from penrose_host.contracts.cluster import Role
from penrose_host.contracts.embedding import EmbeddingBackend, EmbeddingTable, TableFactory, TableSpec
from penrose_host.contracts.snapshots import Snapshot, SnapshotRef
from penrose_host.errors import ConfigError

__all__ = ["Tables"]


class Tables(TableFactory):
    """Name → table. A table is a part `tables/NAME` of its role's fragment."""

    def __init__(self, backend: EmbeddingBackend, role: Role, index: int) -> None:
        self._backend = backend
        self._role = role
        self._index = index
        self._tables: dict[str, EmbeddingTable] = {}
        self._committed: dict[str, SnapshotRef] = {}
        self._complete = False

    def __call__(self, spec: TableSpec) -> EmbeddingTable:
        table = self._tables.get(spec.name)
        if table is None:
            if self._complete:
                asked = f"asks for the table {spec.name!r} when it is set up already: no checkpoint would restore it"
                raise ConfigError([("executor", asked)], hint="its author has to ask for every table in `setup`")
            table = self._tables[spec.name] = self._backend.table(spec)
        elif table.spec != spec:
            raise ConfigError([("executor", f"two different tables are called {spec.name!r}: {table.spec} and {spec}")])
        return table

    def complete(self) -> bool:
        """The executor is set up, and asks for no other table; returns whether it asked for any."""
        self._complete = True
        return bool(self._tables)

    def items(self) -> Mapping[str, EmbeddingTable]:
        """All tables made so far."""
        return self._tables

    def snapshot(self) -> dict[str, Snapshot]:
        """Part → snapshot, one for each table."""
        return {f"tables/{name}": table.snapshot(self._committed.get(name)) for name, table in self._tables.items()}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore every table. Raises CheckpointDamaged where the checkpoint does not have it."""
        for name, table in self._tables.items():
            reader = checkpoint.reader(self._role, self._index, f"tables/{name}")
            table.restore(reader)
            self._committed[name] = reader.ref

    def committed(self, manifest: Manifest) -> None:
        """The last snapshot is durable."""
        for name, table in self._tables.items():
            prefix = f"{self._role}-{self._index}/tables/{name}/"
            files = {n.removeprefix(prefix): ref for n, ref in manifest.files.items() if n.startswith(prefix)}
            self._committed[name] = SnapshotRef(manifest.id, files)
            table.committed(self._committed[name])

    def aborted(self) -> None:
        """The last snapshot will never be durable."""
        for table in self._tables.values():
            table.aborted()
