"""Checkpoints of a large native table: bytes, time, and what training beside the writing loses.

    python tests/benchmarks/bench_snapshots.py [--rows 20000000] [--folder DIR]

A table of 20 million rows × 16 with Adagrad, one training thread, checkpoints through the host's own store: every file
is hashed, synced to disk and listed. Printed, with what is asked for in brackets:

* a full snapshot and a delta after 1% of the rows were trained: how long training is held up while it is taken, bytes,
  seconds of writing without training beside (delta: at most 3% of a full one, in bytes and in time);
* ids a second of training (Zipf 1.2, 106,496 a step) alone, and while a full snapshot is written behind it (at most
  30% slower), and how long that writing takes. Training alone is measured before and after, and the better counts.
  Two processors must be idle for that: the processor's time of a step tells what other processes did not take.

Needs 144 bytes a row of memory, a fifth more while it writes, and twice that on disk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from peers.contender import machine_cpu_seconds
from peers.worker import IDS_PER_STEP, WIDTH, hashed, resident

from penrose_host import Position, Snapshot, SnapshotRef, StepInfo, TableSpec
from penrose_host.checkpoints import CheckpointStore
from penrose_host.contracts.cluster import Role
from penrose_tfplus.backend import TfplusBackend
from penrose_tfplus.backend_table import TfplusTable

ASKED_DELTA, ASKED_SLOWDOWN = 0.03, 0.30
#: Steps of training alone.
ALONE = 60


class Training:
    """Steps of a Zipf stream; goes on where it stopped."""

    def __init__(self, table: TfplusTable, rows: int) -> None:
        generator = np.random.default_rng(7)
        self._table = table
        self._stream = [hashed(ids) for ids in generator.zipf(1.2, (64, IDS_PER_STEP)) % rows]
        self._gradients = generator.standard_normal((IDS_PER_STEP, WIDTH), np.float32)
        self._steps = 0

    def step(self, ids: np.ndarray | None = None) -> None:
        """One step, of given ids or the next of the stream."""
        keys = self._stream[self._steps % len(self._stream)] if ids is None else ids
        self._steps += 1
        info = StepInfo(0, 0, self._steps, lambda: Position("bench"), lambda: self._steps * 1_000_000)
        self._table.lookup(keys, train=True)
        self._table.apply(keys, self._gradients[: len(keys)], info)

    def alone(self) -> tuple[float, float]:
        """Steps a second, and the processor's seconds of one."""
        began, used = time.perf_counter(), time.thread_time()
        for _ in range(ALONE):
            self.step()
        return ALONE / (time.perf_counter() - began), (time.thread_time() - used) / ALONE


class Checkpoints:
    """The host's store, with this table in it and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._store = CheckpointStore(folder)
        self._store.claim(None)
        self._sequence = 0

    def write(self, snapshot: Snapshot) -> tuple[SnapshotRef, float]:
        """Durable, with its manifest: the reference and the seconds that it took."""
        began = time.perf_counter()
        self._sequence += 1
        folder = self._store.begin(self._sequence)
        fragment = self._store.fragment(folder, Role.CHIEF, 0)
        snapshot.write(fragment.part("tables/t"))
        self._store.commit(folder, fragment.close(), rows=0, position=Position("bench"), job={})
        seconds = time.perf_counter() - began
        checkpoint = self._store.latest()
        assert checkpoint is not None
        return checkpoint.reader(Role.CHIEF, 0, "tables/t").ref, seconds

    def only_last(self) -> None:
        """Retention, as between the checkpoints of a run."""
        self._store.retain(1)


def taken(table: TfplusTable, since: SnapshotRef | None) -> tuple[Snapshot, float]:
    """A snapshot, and the seconds that training waited for it."""
    began = time.perf_counter()
    return table.snapshot(since), time.perf_counter() - began


def size(ref: SnapshotRef) -> int:
    """Bytes that were written for it."""
    return sum(file.bytes for file in ref.files.values() if file.checkpoint == ref.checkpoint)


def run(rows: int, folder: Path) -> None:
    spec = TableSpec("t", WIDTH, ("adagrad", {"learning_rate": 0.05}), ("uniform", {}))
    table = TfplusBackend(TfplusBackend.Options(threads=1)).table(spec)
    checkpoints, training = Checkpoints(folder), Training(table, rows)
    for first in range(0, rows, IDS_PER_STEP):
        training.step(hashed(np.arange(first, min(first + IDS_PER_STEP, rows))))
    print(f"{rows:,} rows × {WIDTH} with Adagrad, {resident('VmRSS') / 2**20:,.0f} MiB resident", flush=True)

    full, held = taken(table, None)
    base, full_seconds = checkpoints.write(full)
    table.committed(base)
    print(f"full: taken in {held * 1e3:.0f} ms, {size(base) / 2**20:,.0f} MiB in {full_seconds:.1f} s", flush=True)

    chosen = hashed(np.random.default_rng(3).choice(rows, rows // 100, replace=False))
    for first in range(0, len(chosen), IDS_PER_STEP):
        training.step(chosen[first : first + IDS_PER_STEP])
    delta, held = taken(table, base)
    after, seconds = checkpoints.write(delta)
    table.committed(after)
    print(
        f"delta: taken in {held * 1e3:.0f} ms, {size(after) / 2**20:,.1f} MiB in {seconds:.2f} s: "
        f"{size(after) / size(base):.2%} of the bytes, {seconds / full_seconds:.2%} of the time "
        f"(asked: at most {ASKED_DELTA:.0%})",
        flush=True,
    )

    training.alone()  # warm
    before, peak = training.alone(), 0
    with ThreadPoolExecutor(1) as pool:
        snapshot, held = taken(table, None)
        began, steps, slowest = time.perf_counter(), 0, 0.0
        busy, used = machine_cpu_seconds() - time.process_time(), time.thread_time()
        writing = pool.submit(checkpoints.write, snapshot)
        while not writing.done():
            start = time.perf_counter()
            training.step()
            slowest = max(slowest, time.perf_counter() - start)
            steps += 1
            if steps % 50 == 0:
                peak = max(peak, resident("VmRSS"))
        elapsed, used = time.perf_counter() - began, (time.thread_time() - used) / steps
        others = max(0.0, machine_cpu_seconds() - time.process_time() - busy) / elapsed
        beside = steps / elapsed
        ref, seconds = writing.result()
    table.committed(ref)
    checkpoints.only_last()
    (alone, usual) = max(before, training.alone())
    million = IDS_PER_STEP / 1e6
    print(
        f"training alone {alone * million:.2f} M ids/s, beside a full snapshot {beside * million:.2f}: "
        f"{1 - beside / alone:.1%} slower (asked: at most {ASKED_SLOWDOWN:.0%}); {steps} steps, the slowest "
        f"{slowest * 1e3:.0f} ms, a usual one {1e3 / alone:.0f} ms (of the processor {used * 1e3:.1f} ms each, "
        f"{usual * 1e3:.1f} ms alone); the writing took {seconds:.1f} s; "
        f"{peak / 2**20:,.0f} MiB resident at most; other processes used {others:.1f} cores meanwhile"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, help="where checkpoints are written; by default the temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        run(options.rows, Path(folder))


if __name__ == "__main__":
    main()
