"""Exports as programs of PyTorch: README.md's lines score them, and so does whatever loads one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executor_suite.exports import ExportedRows, Exports, assert_readme_scores
from safetensors.torch import save_file
from torch_exports import columns

from penrose_host import EncodedBatch
from penrose_host.embeddings import Initializer
from penrose_torch.servable import ExportedTable, _buckets


class TestExports(Exports):
    holds = "model.pt2"


class TestExportedRows(ExportedRows):
    def hashed(self, ids: np.ndarray, rows: int) -> np.ndarray:
        return _buckets(torch.from_numpy(ids), rows).numpy()

    def rows(self, held: Mapping[int, list[float]], first: Initializer, ids: np.ndarray) -> np.ndarray:
        table = ExportedTable(torch.tensor(list(held)), torch.tensor(list(held.values())), None, first)
        return table(torch.from_numpy(ids)).numpy()


FULL = """
import resource, sys
from pathlib import Path
import torch
from penrose_torch import export
program = torch.export.export(torch.nn.Linear(200, 200), (torch.zeros(1, 200),))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    export.save(program, Path(sys.argv[1]))
except OSError as error:
    print(type(error).__name__, error.strerror)
"""


@pytest.mark.parametrize("limit", [0, 20_000])
def test_a_model_that_does_not_fit_on_the_disk_is_an_error_and_not_the_end_of_the_process(
    tmp_path: Path, limit: int
) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "model.pt2"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "OSError File too large"), done.stderr[-2000:]


@pytest.mark.slow
def test_the_lines_of_the_readme_score_without_penrose(lab: Any, tmp_path: Path) -> None:
    def write(batch: EncodedBatch) -> str:
        given = columns(batch)
        flat = {"ids": given["ids"], **given["numeric"]}
        for name, (values, lengths) in given["lists"].items():
            flat |= {f"{name}.values": values, f"{name}.lengths": lengths}
        save_file(flat, tmp_path / "rows.safetensors")
        return "rows.safetensors"

    block = ("penrose_host", "penrose_torch", "pyarrow", "pydantic")
    assert_readme_scores(lab, tmp_path, write, block, "-W", "error")
