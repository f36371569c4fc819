"""The table that the host's executors use: the contract over the native table, and its snapshots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from penrose_host import (
    CheckpointError,
    ConfigError,
    EmbeddingTable,
    Snapshot,
    SnapshotWriter,
    TableSpec,
    TableStats,
    TrainingError,
)
from penrose_tfplus import checkpoint_files
from penrose_tfplus.backend_options import TfplusOptions
from penrose_tfplus.table import BadGradient, Table, TableFull

if TYPE_CHECKING:
    import pyarrow as pa

    from penrose_host import CheckpointReader, Float32, Int64, SnapshotRef, StepInfo

__all__ = ["TfplusTable"]

#: Bytes of one file of rows, about.
_FILE_BYTES = 1 << 25
#: What a specification can ask for → policy → the parameter that it needs.
_POLICIES = {
    "admission": {"count": "count", "probability": "probability"},
    "eviction": {"age": "max_age", "frequency": "min_count", "norm": "min_norm", "rows": "max_rows"},
}
#: Rows exported at a time.
_BLOCK = 65536


class TfplusTable(EmbeddingTable):
    """A dynamic table. Keys without a row read their first value, or zeros where rows must be admitted."""

    def __init__(self, spec: TableSpec, options: TfplusOptions) -> None:
        self.spec = spec
        self._options = options
        self._admission = _policy(spec, "admission", spec.admission, options.admission_policy())
        self._eviction = _policy(spec, "eviction", spec.eviction, options.eviction_policy())
        self.first_values = not self._admission
        self._table = self._new()
        self._known: str | None = None  # the checkpoint that the marks are relative to,
        self._counted: Mapping[str, int] = {}  # the counters in it,
        self._counting: Mapping[str, int] = {}  # and in the snapshot being written
        self._widths = {"weights": spec.width, **self._table.slot_widths}
        self._identity: dict[str, Any] = {
            "name": spec.name,
            "width": spec.width,
            "optimizer": spec.optimizer[0],
            "slots": self._table.slot_widths,
            "initializer": [spec.initializer[0], dict(spec.initializer[1])],
            "seed": spec.seed,
        }

    def _new(self) -> Table:
        try:
            table = self._build(None)
            limit = self._options.row_limit(4 * (self.spec.width + sum(table.slot_widths.values())))
            return table if limit is None else self._build(limit)
        except ValueError as error:
            raise ConfigError([(f"table {self.spec.name!r}", str(error))]) from error

    def _build(self, max_rows: int | None) -> Table:
        spec, options = self.spec, self._options
        return Table(
            spec.width,
            optimizer=spec.optimizer[0],
            optimizer_parameters=spec.optimizer[1],
            initializer=spec.initializer[0],
            initializer_parameters=spec.initializer[1],
            seed=spec.seed,
            admit_count=_whole(self._admission.get("count")),
            admit_probability=self._admission.get("probability"),
            max_rows=max_rows,
            at_limit=options.at_limit,
            shards=options.shards,
            threads=options.threads,
        )

    # -- reading and training --------------------------------------------------------------------

    def lookup(self, keys: Int64, *, train: bool) -> Float32:
        try:
            return self._table.lookup(keys, train=train, unseen="first" if self.first_values else "zeros")
        except (ValueError, TableFull, MemoryError) as error:
            raise self._error(error) from error

    def apply(self, keys: Int64, gradients: Float32, step: StepInfo) -> None:
        """One optimizer step. Raises `TrainingError`, the table unchanged, for what does not fit or is not finite."""
        time = step.event_time or 0  # where it is not known, the table's clock stands
        try:
            self._table.apply(keys, gradients, time=time, skip_non_finite=self._options.non_finite == "skip")
        except (ValueError, BadGradient, TableFull, MemoryError) as error:
            raise self._error(error) from error
        every = self._eviction.get("every")
        if every and self._table.counters["steps"] % int(every) == 0:
            self.evict()

    def evict(self) -> int:
        """Give up the rows that the policy names, as of the last step's event time. Returns how many."""
        policy = self._eviction
        now = self._now()
        return self._table.evict(
            before=max(0, now - int(policy["max_age"])) if "max_age" in policy else None,
            min_count=_whole(policy.get("min_count")),
            min_norm=policy.get("min_norm"),
            max_rows=_whole(policy.get("max_rows")),
        )

    def _now(self) -> int:
        """The event time of the last step, in microseconds."""
        return self._table.counters["now"] * 1_000_000

    def _error(self, error: Exception) -> TrainingError:
        hint = None
        if isinstance(error, BadGradient):
            hint = "lower the learning rate, or leave out such rows with embedding.non_finite: skip"
        elif isinstance(error, TableFull):
            hint = "raise embedding.max_rows or max_bytes, or give up old rows with embedding.at_limit: evict"
        elif isinstance(error, MemoryError):
            hint = "bound the table with embedding.max_bytes, or admit fewer keys with embedding.admission"
        what = str(error) or "there is no memory for more rows"
        return TrainingError(f"table {self.spec.name!r} (embedding backend tfplus): {what}", hint=hint)

    # -- checkpoints -----------------------------------------------------------------------------

    def snapshot(self, since: SnapshotRef | None) -> Snapshot:
        """This instant, frozen: rows that change before they are written are copied first."""
        native = self._table._native
        rows, deleted, known = native.changes()
        # Marks are relative to the last snapshot known here: on anything else a delta cannot be built.
        if since is not None and (since.checkpoint != self._known or not known):
            since = None
        row_bytes = 16 + 4 * sum(self._widths.values())
        generation = checkpoint_files.plan(since, rows * row_bytes + 8 * deleted)
        try:
            ticket, count, self._counting, gone, candidates = native.freeze(generation is None)
        except (RuntimeError, MemoryError) as error:
            raise self._error(error) from error
        head = checkpoint_files.Head(count, self._counting, gone, *candidates)
        return _TableSnapshot(self, native, ticket, head, generation or 0, None if generation is None else since)

    def committed(self, ref: SnapshotRef) -> None:
        self._table._native.committed()
        self._known, self._counted = ref.checkpoint, self._counting

    def aborted(self) -> None:
        self._table._native.aborted()

    def restore(self, reader: CheckpointReader) -> None:
        """Become what the snapshot held. Raises `CheckpointDamaged`, the table unchanged."""
        restored = self._new()
        native = restored._native
        counters: Mapping[str, int] = {}
        for generation in checkpoint_files.read_generations(reader, self._identity, self._widths):
            head = generation.head
            native.erase(head.deleted)
            native.load_candidates(head.candidates, head.candidate_counts, head.candidate_times)
            for rows in generation.rows:
                native.load(rows.keys, rows.counts, rows.times, list(rows.arrays.values()))
            counters = head.counters
        native.set_counters(**{name: counters.get(name, 0) for name in native.counters()})
        native.mark_clean()
        self._table = restored
        self._known, self._counted = reader.ref.checkpoint, native.counters()

    # -- looking at it ---------------------------------------------------------------------------

    def export_rows(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        keys = self._table.keys()
        for start in range(0, len(keys), _BLOCK):
            block = keys[start : start + _BLOCK]
            values = pa.array(self._table.lookup(block).reshape(-1))
            yield pa.record_batch(
                {"key": pa.array(block), "row": pa.FixedSizeListArray.from_arrays(values, self.spec.width)}
            )

    def stats(self) -> TableStats:
        counters = self._table.counters
        counters["candidates"] = self._table.candidates
        del counters["now"]
        return TableStats(rows=len(self._table), bytes=self._table.bytes, counters=counters)


class _TableSnapshot(Snapshot):
    """Frozen rows, copied out in pieces while training goes on."""

    def __init__(
        self,
        table: TfplusTable,
        native: Any,
        ticket: int,
        head: checkpoint_files.Head,
        generation: int,
        since: SnapshotRef | None,
    ) -> None:
        self._name = table.spec.name
        self._identity = table._identity
        self._widths = table._widths
        self._unchanged = since is not None and not (
            head.rows or len(head.deleted) or len(head.candidates) or head.counters != table._counted
        )
        self._native = native
        self._ticket = ticket
        self._head = head
        self._generation = generation
        self._since = since

    def write(self, writer: SnapshotWriter) -> None:
        if self._since is not None:
            for name, ref in checkpoint_files.reused(self._since):
                writer.reuse(name, ref)
        if not self._unchanged:
            more = {"rows": self._head.rows, "counters": dict(self._head.counters)}
            self._add(writer, checkpoint_files.head_name(self._generation), self._head.tensors, more)
        written = 0
        for part, rows in enumerate(self._rows()):
            self._add(writer, checkpoint_files.rows_name(self._generation, part), rows.tensors, {})
            written += len(rows.keys)
        if written != self._head.rows:
            raise CheckpointError(
                f"table {self._name!r} (embedding backend tfplus): {written} of {self._head.rows} rows of the snapshot "
                "are there; it can be written once"
            )

    def _rows(self) -> Iterator[checkpoint_files.Rows]:
        per_file = max(1, _FILE_BYTES // (16 + 4 * sum(self._widths.values())))
        while True:
            try:
                taken = self._native.take(self._ticket, per_file)
            except (RuntimeError, MemoryError) as error:
                what = str(error) or "there is no memory to copy rows to"
                raise CheckpointError(f"table {self._name!r} (embedding backend tfplus): {what}") from error
            if taken is None:
                return
            keys, counts, times, arrays = taken
            yield checkpoint_files.Rows(keys, counts, times, dict(zip(self._widths, arrays, strict=True)))

    def _add(self, writer: SnapshotWriter, name: str, tensors: Mapping[str, Any], more: Mapping[str, Any]) -> None:
        writer.add(name, checkpoint_files.write(name, tensors, self._identity, more))


def _policy(
    spec: TableSpec, what: str, asked: tuple[str, Mapping[str, float]] | None, standard: Mapping[str, float]
) -> Mapping[str, float]:
    """What the executor asks for; otherwise what the job says. Raises `ConfigError`."""
    if asked is None:
        return standard
    name, parameters = asked
    place, known = f"table {spec.name!r}: {what}", _POLICIES[what]
    if name not in known:
        raise ConfigError([(place, f"{name!r} does not exist; there are {', '.join(sorted(known))}")])
    if known[name] not in parameters:
        raise ConfigError([(place, f"{name} needs the parameter {known[name]!r}")])
    # Numbers of a specification have no unit: times are microseconds.
    given = {key: f"{value:.0f}us" if key == "max_age" else value for key, value in parameters.items()}
    try:
        options = TfplusOptions.model_validate({what: given})
    except ValidationError as error:
        raise ConfigError(
            [(place, f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}") for e in error.errors()]
        ) from error
    return options.admission_policy() if what == "admission" else options.eviction_policy()


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
