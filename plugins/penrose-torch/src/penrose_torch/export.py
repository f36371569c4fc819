"""Writes the servable artifact: `model.pt2`, a program of `torch.export`, and `features.json`."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from penrose_host.embeddings import Initializer
from penrose_torch.compiler import keep_triton_out
from penrose_torch.rows import LayerRows, TableRows
from penrose_torch.servable import ExportedLayer, ExportedTable, Servable

if TYPE_CHECKING:
    from penrose_host import EmbeddingTable, FeatureSpec
    from penrose_torch.learner import Learner

__all__ = ["export", "save"]

_INPUTS = {
    "ids": "int64 [rows, categorical]: the ids of the categorical features, in their order",
    "numeric": "name: float32 [rows]",
    "lists": "name: (int64 [n] values of all rows one after the other, int64 [rows] how many each row has)",
}


def export(learner: Learner, directory: Path) -> None:
    """Write both files into `directory`; any number of rows can be scored with them, none too. Raises OSError."""
    features = learner.layout.features
    model = copy.deepcopy(learner.model).cpu()
    servable = Servable(features, _embedding(learner), model).eval()
    columns, shapes = _example(features)
    # By name: the order in which whoever serves gives them must not matter.
    keep_triton_out()
    program = torch.export.export(servable, (), columns, dynamic_shapes=shapes, strict=False)
    save(program, directory / "model.pt2")
    described = {"format": 1, "model": learner.name, "features": dataclasses.asdict(features), "inputs": _INPUTS}
    described["outputs"] = "head: float32 [rows], the probability that the label is 1"
    (directory / "features.json").write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", "utf-8")


def save(program: ExportedProgram, path: Path) -> None:
    """Write a program to a file. Raises OSError."""
    with path.open("wb") as file:
        written = _Written(file)
        torch.export.save(program, written)  # type: ignore[arg-type]  # any binary file does
        if written.error is not None:
            raise written.error


class _Written(io.RawIOBase):
    """A file that keeps the error of a write and takes whatever comes after it: PyTorch's own writer, which gets no
    error from here, ends the process where the disk is full."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence) if self.error is None else 0

    def tell(self) -> int:
        return self._file.tell() if self.error is None else 0

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def _embedding(learner: Learner) -> nn.Module:
    rows = learner.rows
    if isinstance(rows, LayerRows):
        return ExportedLayer(rows.layer.weight.detach().cpu())
    assert isinstance(rows, TableRows)
    return _exported_table(rows.table)


def _exported_table(table: EmbeddingTable) -> ExportedTable:
    initializer = Initializer.of(table.spec if table.first_values else replace(table.spec, initializer=("zeros", {})))
    keys, values = [], []
    for batch in table.export_rows():
        keys.append(batch["key"].to_numpy())
        values.append(batch["row"].flatten().to_numpy().reshape(-1, table.spec.width))
    if not keys:
        # Nothing was trained yet. One row that is not, as it would be, spares the program that case.
        keys.append(np.zeros(1, np.int64))
        values.append(initializer.rows(keys[0]))
    return ExportedTable(
        torch.from_numpy(np.concatenate(keys)), torch.from_numpy(np.concatenate(values)), table.hash_rows, initializer
    )


def _example(features: FeatureSpec) -> tuple[dict[str, Any], dict[str, Any]]:
    """Three rows to trace with, and which of their dimensions may have any size."""
    rows, values = Dim("rows", min=0), [Dim(f"values{place}", min=0) for place in range(len(features.lists))]
    lengths = torch.tensor([2, 0, 3])
    columns: dict[str, Any] = {
        "ids": torch.zeros(3, len(features.categorical), dtype=torch.int64),
        "numeric": {name: torch.zeros(3) for name in features.numeric},
        "lists": {feature.name: (torch.zeros(5, dtype=torch.int64), lengths.clone()) for feature in features.lists},
    }
    shapes: dict[str, Any] = {
        "ids": {0: rows},
        "numeric": {name: {0: rows} for name in features.numeric},
        "lists": {feature.name: ({0: size}, {0: rows}) for feature, size in zip(features.lists, values, strict=True)},
    }
    return columns, shapes
