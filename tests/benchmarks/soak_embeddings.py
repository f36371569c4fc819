"""Memory of a native table whose ids keep changing, with eviction on: 200 million ids that were never seen before.

    python tests/benchmarks/soak_embeddings.py [--ids 200000000] [--admission 2]

A step has 106,496 ids (width 16, Adagrad, 2 threads): half of them new, the others from those of the last minute, in
event time. A second passes each step; rows go that were not trained for a minute. Every 10 million new ids a
snapshot, full or delta, is written to nowhere and committed, as checkpoints would be, and a line is printed. With
`--admission N` a key becomes a row once it was seen N times; keys that wait are given up at the same age.

Asked for: from the first fifth to the end resident memory grows by at most 5%. Otherwise it ends with exit status 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable

import numpy as np
from peers.worker import IDS_PER_STEP, WIDTH, hashed, resident

from penrose_host import FileRef, Position, SnapshotRef, SnapshotWriter, StepInfo, TableSpec
from penrose_host.contracts.snapshots import Buffer
from penrose_tfplus.backend import TfplusBackend

LINE = 10_000_000
MINUTE = 60
NEW = IDS_PER_STEP // 2
ASKED_GROWTH = 1.05


class Nowhere(SnapshotWriter):
    """Counts bytes; keeps nothing."""

    def __init__(self, checkpoint: str) -> None:
        self._checkpoint = checkpoint
        self.files: dict[str, FileRef] = {}

    def add(self, name: str, data: Buffer | Iterable[Buffer]) -> None:
        pieces = [data] if isinstance(data, bytes | bytearray | memoryview) else data
        self.files[name] = FileRef(self._checkpoint, name, sum(memoryview(piece).nbytes for piece in pieces), "")

    def reuse(self, name: str, ref: FileRef) -> None:
        self.files[name] = ref


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", type=int, default=200_000_000, help="ids never seen before, in all")
    parser.add_argument("--admission", type=int, help="rows are admitted after so many sightings")
    options = parser.parse_args()
    backend = TfplusBackend.Options(
        threads=2,
        eviction={"max_age": f"{MINUTE}s", "every": 10},
        admission={"count": options.admission} if options.admission else None,
    )
    spec = TableSpec("soak", WIDTH, ("adagrad", {"learning_rate": 0.05}), ("uniform", {}))
    table = TfplusBackend(backend).table(spec)
    generator = np.random.default_rng(1)
    gradients = generator.standard_normal((IDS_PER_STEP, WIDTH), np.float32)
    since: SnapshotRef | None = None
    seen, lines, began = 0, [], time.perf_counter()
    print("new ids (M)  rows     waiting  resident MiB  table MiB  snapshot MiB  M ids/s", flush=True)
    for step in range(options.ids // NEW + 1):
        old = generator.integers(max(0, seen - MINUTE * NEW // 2), seen + 1, IDS_PER_STEP - NEW)
        ids = hashed(np.concatenate([np.arange(seen, seen + NEW), old]))
        info = StepInfo(0, 0, step, lambda: Position("soak"), lambda second=step: second * 1_000_000)
        table.lookup(ids, train=True)
        table.apply(ids, gradients, info)
        seen += NEW
        if seen // LINE > (seen - NEW) // LINE:
            writer = Nowhere(f"c{step}")
            table.snapshot(since).write(writer)
            since = SnapshotRef(f"c{step}", writer.files)
            table.committed(since)
            written = sum(file.bytes for file in writer.files.values() if file.checkpoint == since.checkpoint)
            stats, memory = table.stats(), resident("VmRSS")
            lines.append(memory)
            print(
                f"{seen / 1e6:11.1f}  {stats.rows:7}  {stats.counters['candidates']:7}  {memory / 2**20:12.1f}  "
                f"{stats.bytes / 2**20:9.1f}  {written / 2**20:12.1f}  "
                f"{(step + 1) * IDS_PER_STEP / 1e6 / (time.perf_counter() - began):7.2f}",
                flush=True,
            )
    if len(lines) < 5:
        sys.exit("too few ids to tell whether memory is flat")
    growth = max(lines) / lines[len(lines) // 5]
    print(f"largest {max(lines) / 2**20:.1f} MiB, {growth:.3f}× that after a fifth (asked: at most {ASKED_GROWTH}×)")
    sys.exit(growth > ASKED_GROWTH)


if __name__ == "__main__":
    main()
