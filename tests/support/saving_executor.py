"""An executor whose library saves to a path and loads from one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from penrose_host import CheckpointReader, FilesSnapshot, Snapshot
from penrose_host.testing.toys import ToyExecutor

__all__ = ["SavingExecutor"]


class SavingExecutor(ToyExecutor):
    """Its state goes through files below a directory, as that of a library which only saves to paths."""

    def snapshot(self) -> Snapshot:
        with TemporaryDirectory() as folder:
            model = Path(folder, "model", "variables")
            model.mkdir(parents=True)
            np.save(model / "weights.npy", self.weights)
            np.save(model / "velocity.npy", self.velocity)
            return FilesSnapshot.of_directory(folder)

    def restore(self, reader: CheckpointReader) -> None:
        with TemporaryDirectory() as folder:
            reader.to_directory(folder)
            model = Path(folder, "model", "variables")
            self.weights, self.velocity = np.load(model / "weights.npy"), np.load(model / "velocity.npy")
