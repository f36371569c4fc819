"""Promises about snapshots, exports and closing."""

from __future__ import annotations

from pathlib import Path

from penrose_host.errors import PenroseError
from penrose_host.testing.executors.base import ExecutorChecks
from penrose_host.testing.executors.comparing import apart, copied, difference
from penrose_host.testing.executors.lab import written
from penrose_host.testing.pickles import pickles_in
from penrose_host.testing.promises import Broken, promise, raised_by, told
from penrose_host.testing.watching import unpickled

__all__ = ["StatePromises"]


class StatePromises(ExecutorChecks):
    """`snapshot`, `restore`, `export`, `close`."""

    @promise
    def test_restore_gives_back_the_snapshot(self) -> None:
        """Snapshot, train, restore: the state is that of the snapshot, to the byte, and so are the scores."""
        with self.lab(2) as lab:
            saved, scores = lab.save(), copied(lab.executor.predict(self.batch(9, 50)))
            self.train(lab, range(2, 4))
            lab.load(saved)
            if seen := difference(saved, lab.save()):
                raise Broken(f"after `restore` {seen}.", "restore everything that the snapshot holds.")
            if seen := apart(scores, lab.executor.predict(self.batch(9, 50)), 0):
                raise Broken(f"after `restore` {seen}.", "restore everything that decides a score.")

    @promise
    def test_training_goes_on_as_if_never_interrupted(self) -> None:
        """A new executor that restores a snapshot and trains on ends with the bytes of one that never stopped."""
        with self.lab(2) as lab:
            saved = lab.save()
            self.train(lab, range(2, 5))
            straight = lab.save()
        with self.lab() as lab:
            lab.load(saved)
            self.train(lab, range(2, 5))
            if seen := difference(straight, lab.save()):
                raise Broken(
                    f"after three more steps {seen}.",
                    "put optimizer slots, step counters and random generators into the snapshot.",
                )

    @promise
    def test_a_snapshot_keeps_its_instant(self) -> None:
        """A snapshot that is written after more training holds what was there when it was taken."""
        with self.lab(2) as lab:
            saved, frozen = lab.save(), lab.freeze()
            self.train(lab, range(2, 4))
            if seen := difference(saved, written(frozen)):
                raise Broken(
                    f"written two steps later, {seen}.", "copy in `snapshot`; `write` runs while training goes on."
                )

    @promise
    def test_a_checkpoint_that_lacks_a_file_is_refused(self) -> None:
        """`restore` raises an error of Penrose's where a file of the snapshot is missing."""
        with self.lab(1) as lab:
            saved = lab.save()
        for name in saved:
            if not name.startswith("executor/"):
                continue
            with self.lab() as lab:
                rest = {other: data for other, data in saved.items() if other != name}
                error = raised_by(lambda lab=lab, rest=rest: lab.load(rest))  # type: ignore[misc]
            if not isinstance(error, PenroseError):
                raise Broken(f"without {name}, `restore` {told(error)}.", "read every file with `reader.read(name)`.")

    @promise
    def test_nothing_is_pickled(self) -> None:
        """No file of a snapshot is a pickle, or holds one, and `restore` unpickles nothing."""
        with self.lab(1) as lab:
            saved = lab.save()
            with unpickled() as seen:
                lab.load(saved)
        found = [f"`restore` unpickled {what}" for what in seen]
        found += [f"{name} is a pickle" for name in pickles_in(saved)]
        if found:
            raise Broken(f"{found[0]}.", "write JSON, Arrow or safetensors: a pickle runs code when it is read.")

    @promise
    def test_export_writes_files_and_changes_nothing(self, tmp_path: Path) -> None:
        """`export` writes at least one file into the folder it is given, and leaves the state as it is."""
        with self.lab(2) as lab:
            before = lab.save()
            folder = tmp_path / "export"
            folder.mkdir()
            lab.executor.export(folder)
            if seen := difference(before, lab.save()):
                raise Broken(f"after `export` {seen}.", "export a copy.")
        if not any(path.stat().st_size for path in folder.rglob("*") if path.is_file()):
            raise Broken("the folder holds no file, or only empty ones.", "write what is needed to score there.")
        if strangers := [path.name for path in tmp_path.iterdir() if path != folder]:
            raise Broken(f"{strangers} appeared beside the folder.", "write into the folder only.")

    @promise
    def test_close_can_be_called_twice_and_without_setup(self) -> None:
        """`close` can be called without `setup`, and twice."""
        executor = self.make()
        executor.close()
        executor.close()
        with self.lab(1) as lab:
            lab.executor.close()
