"""The child's side: a table that answers one JSON object per line, from standard input to the pipe given by number.

    {"do": "build", "rows": 2000000, "folder": "/tmp/x"}  → {}; every row is there and trained with zeros afterwards
    {"do": "run", "stream": "zipf", "first": 0, "steps": 20} → {"seconds": 0.31, "cpu_seconds": 0.58}
    {"do": "grow", "rows": 20000000} → {"seconds": [each step's], "bytes": 2900000000}; from empty, for dynamic tables
    {"do": "rows", "ids": [3, 5]} → {"rows": [[…16 numbers…], […]]}

Standard output is left to the frameworks, which print as they are imported.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

IDS_PER_STEP = 4096 * 26
LEARNING_RATE = 0.05
THREADS = 2
WIDTH = 16


class Table(Protocol):
    """One contender with its optimizer."""

    def tensor(self, array: np.ndarray) -> Any:
        """The framework's own view of an array; never measured."""

    def step(self, ids: Any, gradients: Any) -> None:
        """Look all ids up ([n] int64 → [n, 16] float32), then update with the gradients of what was read."""

    def rows(self, ids: Any) -> np.ndarray:
        """The present rows of some ids."""


def hashed(ids: np.ndarray) -> np.ndarray:
    """int64 → int64 one to one (splitmix64's finalizer): what ids look like to tables that take any key."""
    mixed = ids.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))).view(np.int64)


def unchanged(ids: np.ndarray) -> np.ndarray:
    """For tables whose rows are numbered: the id is the row."""
    return ids


def fill(table: Table, rows: int, key: Callable[[np.ndarray], np.ndarray]) -> None:
    """Make every row and its optimizer state, in steps with gradients of zero: they change no value."""
    for first in range(0, rows, IDS_PER_STEP):
        ids = np.arange(first, min(first + IDS_PER_STEP, rows))
        table.step(table.tensor(key(ids)), table.tensor(np.zeros((len(ids), WIDTH), np.float32)))


def resident(field: str) -> int:
    """Bytes of this process: `VmRSS` now, `VmHWM` at most (Linux)."""
    return int(Path("/proc/self/status").read_text().split(field + ":")[1].split()[0]) * 1024


def grow(make: Callable[[int], Table], rows: int, key: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    """Steps of ids never seen before: the seconds of each, and how much memory the process took more at its peak."""
    gradients_array = np.random.default_rng(1).standard_normal((IDS_PER_STEP, WIDTH), np.float32)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = resident("VmRSS")
    table = make(0)
    gradients = table.tensor(gradients_array)
    seconds = []
    for first in range(0, rows, IDS_PER_STEP):
        ids = table.tensor(key(np.arange(first, first + IDS_PER_STEP)))
        began = time.perf_counter()
        table.step(ids, gradients)
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds, "bytes": resident("VmHWM") - before}


def serve(make: Callable[[int], Table], key: Callable[[np.ndarray], np.ndarray]) -> None:
    """Answer until standard input ends. `make` takes the number of rows."""
    replies = os.fdopen(int(sys.argv[1]), "w", buffering=1)
    for line in sys.stdin:
        request = json.loads(line)
        reply: dict[str, Any] = {}
        if request["do"] == "build":
            table = make(request["rows"])
            fill(table, request["rows"], key)
            folder = Path(request["folder"])
            gradients = [table.tensor(part) for part in np.load(folder / "gradients.npy")]
            streams = {
                path.name.removesuffix(".ids.npy"): [table.tensor(key(ids)) for ids in np.load(path)]
                for path in folder.glob("*.ids.npy")
            }
        elif request["do"] == "run":
            stream = streams[request["stream"]]
            cpu, began = time.process_time(), time.perf_counter()
            for step in range(request["first"], request["first"] + request["steps"]):
                table.step(stream[step % len(stream)], gradients[step % len(gradients)])
            reply = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
        elif request["do"] == "grow":
            reply = grow(make, request["rows"], key)
        else:
            ids = key(np.array(request["ids"], np.int64))
            reply = {"rows": np.asarray(table.rows(table.tensor(ids))).tolist()}
        replies.write(json.dumps(reply) + "\n")
