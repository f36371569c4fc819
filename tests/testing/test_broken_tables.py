"""Each promise of embedding tables is broken by a table that is wrong in one way; a good one keeps them all."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from contract_support import IN_A_PROCESS, Mutants, broken_promises, said_well
from toy_table import ToyBackend, ToySnapshot, ToyTable

from penrose_host import (
    CheckpointReader,
    EmbeddingTable,
    Snapshot,
    SnapshotRef,
    SnapshotWriter,
    StepInfo,
    TableSpec,
    TableStats,
)
from penrose_host.errors import ConfigError
from penrose_host.testing import EmbeddingTableContract, promises_of
from penrose_host.testing.plugins import PluginContract

MUTANTS = Mutants()
breaks = MUTANTS.breaks
HISTORY = "any_history_of_checkpoints_restores_what_was_there"
RESTORE = "restore_gives_back_the_snapshot"
GOES_ON = "training_goes_on_as_if_never_interrupted"
DELTA = "a_delta_restores_like_a_full_snapshot"
ABORTED = "what_an_aborted_snapshot_covered_is_written_again"
WHILE = "what_changes_while_a_snapshot_is_written_is_in_the_next"


class Toy(EmbeddingTableContract):
    kind: ClassVar[type[ToyTable]] = ToyTable
    backend: ClassVar[type[ToyBackend]] = ToyBackend
    examples = 20

    def make(self) -> ToyBackend:
        made = self.backend(self.backend.Options())
        made.kind = self.kind
        return made


@pytest.mark.parametrize("width", [1, 4])
def test_a_good_table_keeps_every_promise(width: int, tmp_path: Path) -> None:
    assert broken_promises(type("Test", (Toy,), {"width": width}), tmp_path) == {}


@pytest.mark.parametrize(("mutant", "expected"), MUTANTS)
def test_a_broken_table_breaks_its_promise_and_no_other(mutant: type[Any], expected: set[str], tmp_path: Path) -> None:
    kind = "kind" if issubclass(mutant, ToyTable) else "backend"
    told = broken_promises(type("Test", (Toy,), {kind: mutant}), tmp_path)
    assert set(told) == expected, told
    assert all(map(said_well, told.values())), told


def test_every_promise_is_broken_by_some_table() -> None:
    of_all_plugins = set(promises_of(PluginContract))
    assert MUTANTS.broken() == set(promises_of(EmbeddingTableContract)) - of_all_plugins - {IN_A_PROCESS}


def test_a_backend_of_few_rows_is_asked_for_more(tmp_path: Path) -> None:
    class FewRows(ToyTable):
        hash_rows = 10

    told = broken_promises(type("Test", (Toy,), {"kind": FewRows}), tmp_path)
    assert "give the test at least" in told["test_lookup_gives_one_row_for_each_key"]


# -- lookups -----------------------------------------------------------------------------------------


@breaks("any_int64_is_a_legal_key", "a_step_changes_the_rows_of_its_keys_only")
class KeepsAKeyForItself(ToyTable):
    def update(self, key: int, gradient: Any) -> None:
        if key != 0 or self.spec.optimizer[0] != "sgd":
            super().update(key, gradient)


@breaks("lookup_gives_one_row_for_each_key")
class LooksUpInDoublePrecision(ToyTable):
    def lookup(self, keys: Any, *, train: bool) -> Any:
        return super().lookup(keys, train=train).astype(np.float64)


@breaks("lookup_gives_one_row_for_each_key")
class LooksUpSorted(ToyTable):
    def lookup(self, keys: Any, *, train: bool) -> Any:
        return super().lookup(np.sort(keys) if len(keys) == 18 else keys, train=train)


class Shared(ToyTable):
    """Hands out one array for the same keys again and again."""

    def __init__(self, spec: TableSpec) -> None:
        super().__init__(spec)
        self.given: dict[bytes, Any] = {}

    def lookup(self, keys: Any, *, train: bool) -> Any:
        found = super().lookup(keys, train=train)
        if not train:
            return found
        given = self.given.setdefault(keys.tobytes(), found)
        given[:] = found
        return given


@breaks("lookup_gives_a_new_array", "any_int64_is_a_legal_key")
class GivesItsOwnArray(Shared):
    def apply(self, keys: Any, gradients: Any, step: StepInfo) -> None:
        super().apply(keys, gradients, step)
        if keys.tobytes() in self.given:
            self.lookup(keys, train=True)


@breaks("lookup_gives_a_new_array")
class TakesBackWhatItGave(Shared):
    def lookup(self, keys: Any, *, train: bool) -> Any:
        for known, given in self.given.items():
            for key, row in zip(np.frombuffer(known, np.int64).tolist(), given, strict=True):
                if key in self.rows:
                    self.rows[key] = np.stack([row, self.rows[key][1]])
        return super().lookup(keys, train=train)

    def apply(self, keys: Any, gradients: Any, step: StepInfo) -> None:
        self.given = {}
        super().apply(keys, gradients, step)


@breaks("looking_changes_nothing")
class MakesRowsWhenServing(ToyTable):
    def lookup(self, keys: Any, *, train: bool) -> Any:
        if not train and len(keys) == 40:
            self.rows |= {key: self.row(key) for key in keys.tolist()}
        return super().lookup(keys, train=train)


@breaks("looking_changes_nothing", "lookup_gives_one_row_for_each_key")
class ServesNothingForUnseenKeys(ToyTable):
    def lookup(self, keys: Any, *, train: bool) -> Any:
        known = np.array([train or key in self.rows for key in keys.tolist()], bool).reshape(-1, 1)
        return np.where(known, super().lookup(keys, train=train), np.float32(0))


@breaks("first_values_depend_on_seed_and_key_only")
class IgnoresTheSeed(ToyTable):
    def __init__(self, spec: TableSpec) -> None:
        super().__init__(replace(spec, seed=0))
        self.spec = spec


@breaks("first_values_depend_on_seed_and_key_only")
class DrawsByName(ToyTable):
    def __init__(self, spec: TableSpec) -> None:
        super().__init__(replace(spec, seed=spec.seed + len(spec.name)))
        self.spec = spec


class Exported(ToyTable):
    """Exports what `rework` makes of its batches."""

    def export_rows(self) -> Iterator[pa.RecordBatch]:
        yield from self.rework(list(super().export_rows()))

    def rework(self, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        raise NotImplementedError


@breaks("export_rows_are_complete_and_ascending")
class ExportsInAnyOrder(Exported):
    def rework(self, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        return batches[::-1]


@breaks("export_rows_are_complete_and_ascending")
class ExportsTheFirstBatch(Exported):
    def rework(self, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        return batches[:1]


@breaks("export_rows_are_complete_and_ascending")
class ExportsLists(Exported):
    def rework(self, batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
        return [b.set_column(1, "row", b.column("row").cast(pa.list_(pa.float32()))) for b in batches]


@breaks("export_rows_are_complete_and_ascending")
class CountsWrong(ToyTable):
    def stats(self) -> TableStats:
        return TableStats(len(self.rows) + 1, 0)


# -- steps -------------------------------------------------------------------------------------------


@breaks("repeated_keys_are_summed_first")
class AppliesKeysOneByOne(ToyTable):
    def summed(self, keys: Any, gradients: Any) -> Iterator[tuple[int, Any]]:
        order = np.lexsort((gradients[:, 0], keys))
        yield from zip(keys[order].tolist(), gradients[order], strict=True)


@breaks("repeated_keys_are_summed_first", "the_order_of_keys_does_not_matter")
class TakesTheLastGradient(ToyTable):
    def summed(self, keys: Any, gradients: Any) -> Iterator[tuple[int, Any]]:
        yield from dict(zip(keys.tolist(), gradients, strict=True)).items()


@breaks("the_order_of_keys_does_not_matter")
class FavoursEarlyKeys(ToyTable):
    def summed(self, keys: Any, gradients: Any) -> Iterator[tuple[int, Any]]:
        favoured = self.spec.optimizer[0] == "adagrad"
        for key, gradient in super().summed(keys, gradients):
            yield key, gradient * np.float32(1.01) if favoured and key == keys[0] else gradient


@breaks("a_step_changes_the_rows_of_its_keys_only")
class DecaysAllRows(ToyTable):
    def apply(self, keys: Any, gradients: Any, step: StepInfo) -> None:
        if self.spec.optimizer[0] == "sgd":
            self.rows = {key: row * np.float32(0.9 if key not in keys else 1) for key, row in self.rows.items()}
        super().apply(keys, gradients, step)


@breaks("a_step_changes_the_rows_of_its_keys_only", "any_int64_is_a_legal_key")
class ClimbsInsteadOfDescending(ToyTable):
    def summed(self, keys: Any, gradients: Any) -> Iterator[tuple[int, Any]]:
        yield from super().summed(keys, -gradients)


@breaks(
    "arrays_handed_in_are_never_changed",
    "the_order_of_keys_does_not_matter",
    "a_step_changes_the_rows_of_its_keys_only",
)
class ScalesGradientsInPlace(ToyTable):
    def apply(self, keys: Any, gradients: Any, step: StepInfo) -> None:
        super().apply(keys, gradients, step)
        if gradients.flags.writeable:
            gradients *= 0


@breaks("what_does_not_fit_changes_nothing")
class RaisesAnything(ToyTable):
    def check(self, keys: Any, gradients: Any) -> None:
        try:
            super().check(keys, gradients)
        except Exception as error:
            raise ValueError("does not fit") from error


@breaks("what_does_not_fit_changes_nothing")
class ChecksTooLate(ToyTable):
    def check(self, keys: Any, gradients: Any) -> None:
        if gradients.dtype == np.float64:
            self.rows[5] = self.row(5) * 2
        super().check(keys, gradients)


@breaks("tables_share_nothing")
class MakesOneTable(ToyBackend):
    def table(self, spec: TableSpec) -> EmbeddingTable:
        self.made = getattr(self, "made", None) or super().table(spec)
        return self.made


@breaks("unknown_optimizers_and_initializers_are_refused")
class TakesAnyOptimizer(ToyBackend):
    def table(self, spec: TableSpec) -> EmbeddingTable:
        try:
            return super().table(spec)
        except ConfigError:
            return super().table(replace(spec, optimizer=("sgd", {}), initializer=("zeros", {})))


# -- checkpoints -------------------------------------------------------------------------------------


@breaks(RESTORE, "an_empty_table_can_be_saved")
class KeepsOldRows(ToyTable):
    def restore(self, reader: CheckpointReader) -> None:
        before = self.rows
        super().restore(reader)
        self.rows = before | self.rows


@breaks(GOES_ON, HISTORY)
class RestoresWithoutSlots(ToyTable):
    def restore(self, reader: CheckpointReader) -> None:
        super().restore(reader)
        self.rows = {key: row * np.array([[1], [0]], np.float32) for key, row in self.rows.items()}


class LateSnapshot(ToySnapshot):
    def __init__(self, table: ToyTable, rows: dict[int, Any], since: SnapshotRef | None) -> None:
        super().__init__(rows, since, table.spec.width)
        self.table = table

    def write(self, writer: SnapshotWriter) -> None:
        self.rows = {key: self.table.rows[key] for key in self.rows}
        super().write(writer)


@breaks("a_snapshot_keeps_its_instant")
class CopiesTooLate(ToyTable):
    def snapshot(self, since: SnapshotRef | None) -> Snapshot:
        taken = super().snapshot(since)
        assert isinstance(taken, ToySnapshot)
        return LateSnapshot(self, taken.rows, since)


@breaks(DELTA, ABORTED, WHILE, HISTORY)
class ForgetsHalfOfADelta(ToyTable):
    def snapshot(self, since: SnapshotRef | None) -> Snapshot:
        taken = super().snapshot(since)
        assert isinstance(taken, ToySnapshot)
        if since is not None:
            taken.rows = dict(list(taken.rows.items())[::2])
        return taken


@breaks("a_delta_writes_what_changed")
class NeverClearsItsMarks(ToyTable):
    def committed(self, ref: SnapshotRef) -> None:
        self.dirty |= self.pending


@breaks(ABORTED, HISTORY)
class ClearsMarksWhenAborted(ToyTable):
    def aborted(self) -> None:
        pass


@breaks(WHILE)
class ClearsTooManyMarks(ToyTable):
    def committed(self, ref: SnapshotRef) -> None:
        self.dirty = set()


@breaks("an_empty_table_can_be_saved")
class CannotRestoreNothing(ToyTable):
    def restore(self, reader: CheckpointReader) -> None:
        if any(reader.read(name) for name in reader.names() if name != "last"):
            super().restore(reader)


@breaks("a_snapshot_that_does_not_fit_is_refused")
class MakesDoWithLess(ToyTable):
    def restore(self, reader: CheckpointReader) -> None:
        if "0.rows" in reader.names():
            super().restore(reader)


@breaks("a_snapshot_that_does_not_fit_is_refused")
class ForgetsBeforeItChecks(ToyTable):
    def restore(self, reader: CheckpointReader) -> None:
        self.rows = {}
        super().restore(reader)


class WithPickle(ToySnapshot):
    def write(self, writer: SnapshotWriter) -> None:
        super().write(writer)
        if not self.reused:
            writer.add("spec", pickle.dumps(self.width))


@breaks("nothing_is_pickled")
class SavesAPickle(ToyTable):
    def snapshot(self, since: SnapshotRef | None) -> Snapshot:
        taken = super().snapshot(since)
        assert isinstance(taken, ToySnapshot)
        return WithPickle(taken.rows, since, self.spec.width)

    def restore(self, reader: CheckpointReader) -> None:
        assert pickle.loads(reader.read("spec"))
        super().restore(reader)
