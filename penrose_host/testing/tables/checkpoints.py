"""Promises about snapshots of tables: whole, as deltas, given up, and restored."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from penrose_host.contracts.embedding import EmbeddingTable
from penrose_host.contracts.snapshots import FilesSnapshot, SnapshotRef
from penrose_host.errors import CheckpointDamaged
from penrose_host.testing.drawing import for_all
from penrose_host.testing.memory import MemoryCheckpoints
from penrose_host.testing.pickles import pickles_in
from penrose_host.testing.promises import Broken, promise, raised_by, told
from penrose_host.testing.tables.base import STEP, TableChecks, difference
from penrose_host.testing.watching import unpickled

__all__ = ["CheckpointPromises"]

#: A step that shows whether optimizer slots came along.
PROBE = 1000


class CheckpointPromises(TableChecks):
    """`snapshot`, `committed`, `aborted`, `restore`."""

    @promise
    def test_restore_gives_back_the_snapshot(self) -> None:
        """Snapshot, train, restore: the table is that of the snapshot, in a new table and in the old one."""
        saved, table = MemoryCheckpoints(), self.trained(range(3))
        before = self.content(table)
        ref = saved.write("c1", table.snapshot(None))
        table.aborted()
        self.train(table, range(3, 6))
        for how, target in (("the same table", table), ("a new table", self.table())):
            target.restore(saved.reader(ref))
            if seen := difference(before, self.content(target)):
                raise Broken(f"restored into {how}, {seen}.", "forget what was there, and take over every row.")

    @promise
    def test_training_goes_on_as_if_never_interrupted(self) -> None:
        """A restored table trains on like one that never stopped: optimizer slots are part of the snapshot."""
        saved, table = MemoryCheckpoints(), self.trained(range(3))
        restored = self._restored(saved, saved.write("c1", table.snapshot(None)))
        self.train(restored, range(3, 5))
        if seen := difference(self.content(self.trained(range(5))), self.content(restored)):
            raise Broken(f"two steps after `restore`, {seen}.", "write the optimizer's slots beside the rows.")

    @promise
    def test_a_snapshot_keeps_its_instant(self) -> None:
        """A snapshot that is written after more training holds what was there when it was taken."""
        saved, table = MemoryCheckpoints(), self.trained(range(3))
        before = self.content(table)
        snapshot = table.snapshot(None)
        self.train(table, range(3, 5))
        if seen := difference(before, self.content(self._restored(saved, saved.write("c1", snapshot)))):
            raise Broken(f"written two steps later, {seen}.", "copy or freeze in `snapshot`.")

    @promise
    def test_a_delta_restores_like_a_full_snapshot(self) -> None:
        """A snapshot since a committed one restores to the same table as a full snapshot of the same instant."""
        saved, table = MemoryCheckpoints(), self.trained(range(3))
        base = self._commit(saved, "c1", table, None)
        self.train(table, range(3, 5))
        delta = self._commit(saved, "c2", table, base)
        full = saved.write("c3", table.snapshot(None))
        table.aborted()
        expected = self.content(self._restored(saved, full))
        if seen := difference(expected, self.content(self._restored(saved, delta))):
            raise Broken(f"restored from the delta, {seen}.", "write each row that changed since the last commit.")

    @promise
    def test_a_delta_writes_what_changed(self) -> None:
        """After a committed snapshot the next one writes what changed since, and reuses the files of the last."""
        if not self.deltas:
            return
        saved, table = MemoryCheckpoints(), self.table()
        keys = self.keys(table, 400)
        self.step(table, keys, 1)
        base = self._commit(saved, "c1", table, None)
        self.step(table, keys[:2], 2)
        delta = self._commit(saved, "c2", table, base)
        whole = sum(file.bytes for file in base.files.values())
        new = sum(file.bytes for file in delta.files.values() if file.checkpoint == "c2")
        if new > whole / 2:
            raise Broken(
                f"2 of {len(keys)} rows had changed, and {new} bytes were written after {whole} before.",
                "clear the marks in `committed` and `reuse` the files of `since`; or set `deltas = False` in the test.",
            )

    @promise
    def test_what_an_aborted_snapshot_covered_is_written_again(self) -> None:
        """After `aborted`, what the snapshot covered still counts as changed and is in the next one."""
        saved, table = MemoryCheckpoints(), self.trained(range(3))
        base = self._commit(saved, "c1", table, None)
        self.train(table, range(3, 5))
        table.snapshot(base)
        table.aborted()
        after = self._commit(saved, "c2", table, base)
        if seen := difference(self.content(self.trained(range(5))), self.content(self._restored(saved, after))):
            raise Broken(f"in the snapshot after the aborted one, {seen}.", "clear marks in `committed` only.")

    @promise
    def test_what_changes_while_a_snapshot_is_written_is_in_the_next(self) -> None:
        """Steps between `snapshot` and `committed` are not in this snapshot, and are in the next."""
        saved, table = MemoryCheckpoints(), self.trained(range(2))
        snapshot = table.snapshot(None)
        self.train(table, range(2, 4))
        base = saved.write("c1", snapshot)
        table.committed(base)
        after = self._commit(saved, "c2", table, base)
        if seen := difference(self.content(self.trained(range(4))), self.content(self._restored(saved, after))):
            raise Broken(f"in the next snapshot, {seen}.", "let `committed` clear only marks from before the snapshot.")

    @promise
    def test_any_history_of_checkpoints_restores_what_was_there(self) -> None:
        """Whatever was committed, aborted and restored before, each committed snapshot restores to its own instant."""

        @for_all(self.examples, history=st.lists(st.sampled_from(["train", "commit", "abort", "restore"]), max_size=12))
        def check(history: list[str]) -> None:
            saved, table, since = MemoryCheckpoints(), self.table(), None
            steps: list[int] = []
            durable: list[int] = []
            for number, event in enumerate(history):
                if event == "train":
                    steps.append(number)
                    self.train(table, [number])
                elif event == "commit":
                    since, durable = self._commit(saved, f"c{number}", table, since), [*steps]
                elif event == "abort":
                    table.snapshot(since)
                    table.aborted()
                elif since is not None:
                    table, steps = self._restored(saved, since), [*durable]
            if since is None:
                return
            restored = self._restored(saved, since)
            self.train(restored, [PROBE])
            if seen := difference(self.content(self.trained([*durable, PROBE])), self.content(restored)):
                raise Broken(f"after {', '.join(history)}, and restored, {seen}.", "see the promises about deltas.")

    @promise
    def test_an_empty_table_can_be_saved(self) -> None:
        """The snapshot of a table that was never trained restores to such a table, also over a trained one."""
        saved = MemoryCheckpoints()
        ref = saved.write("c1", self.table().snapshot(None))
        table = self.trained(range(2))
        table.restore(saved.reader(ref))
        if seen := difference(self.content(self.table()), self.content(table)):
            raise Broken(f"restored from an empty table's snapshot, {seen}.", "forget what was there.")

    @promise
    def test_a_snapshot_that_does_not_fit_is_refused(self) -> None:
        """`restore` raises `CheckpointDamaged` for another width or a missing file, and the table is unchanged."""
        saved, table = MemoryCheckpoints(), self.trained(range(2))
        before = self.content(table)
        other = self.table(width=self.width + 1)
        other.apply(self.keys(other, 2), np.ones((2, self.width + 1), np.float32), STEP)
        ref = saved.write("c1", other.snapshot(None))
        self._refuses(saved, ref, table, f"a snapshot of width {self.width + 1}")
        whole = saved.write("c2", table.snapshot(None))
        table.aborted()
        for name in whole.files:
            rest = {n: saved.files[f.checkpoint, f.path] for n, f in whole.files.items() if n != name}
            ref = saved.write(f"without {name}", FilesSnapshot(rest))
            self._refuses(saved, ref, table, f"a snapshot without {name}")
        if seen := difference(before, self.content(table)):
            raise Broken(f"after a refused `restore`, {seen}.", "read and check everything before changing anything.")

    @promise
    def test_nothing_is_pickled(self) -> None:
        """No file of a snapshot is a pickle, or holds one, and `restore` unpickles nothing."""
        saved, table = MemoryCheckpoints(), self.trained(range(2))
        ref = saved.write("c1", table.snapshot(None))
        with unpickled() as seen:
            self.table().restore(saved.reader(ref))
        found = [f"`restore` unpickled {what}" for what in seen]
        found += [f"{name} is a pickle" for name in pickles_in({name: d for (_, name), d in saved.files.items()})]
        if found:
            raise Broken(f"{found[0]}.", "write Arrow or safetensors: a pickle runs code when it is read.")

    def _commit(
        self, saved: MemoryCheckpoints, checkpoint: str, table: EmbeddingTable, since: SnapshotRef | None
    ) -> SnapshotRef:
        ref = saved.write(checkpoint, table.snapshot(since))
        table.committed(ref)
        return ref

    def _restored(self, saved: MemoryCheckpoints, ref: SnapshotRef) -> EmbeddingTable:
        table = self.table()
        table.restore(saved.reader(ref))
        return table

    def _refuses(self, saved: MemoryCheckpoints, ref: SnapshotRef, table: EmbeddingTable, what: str) -> None:
        error = raised_by(lambda: table.restore(saved.reader(ref)))
        if not isinstance(error, CheckpointDamaged):
            raise Broken(f"`restore` of {what} {told(error)}.", "compare it with the spec, and read every file.")
