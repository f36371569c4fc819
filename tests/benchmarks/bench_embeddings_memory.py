"""Memory and slowest step of a dynamic embedding table that grows from empty to 20 million rows.

    python tests/benchmarks/bench_embeddings_memory.py [--rows 20000000] [--table tfplus]

Each step looks up 106,496 ids that were never seen before (width 16) and updates them with Adagrad, 2 threads; three
runs over the same ids, each in a process of its own. Printed, with what is asked for in brackets:

* the peak of resident memory during growth, less what the process had before the table, relative to weights, slots
  and 16 bytes a row (144 bytes a row in all);
* the slowest step relative to the median one, each step taken from the run in which it was fastest, so that
  what other processes do at one time does not count.

`--table tfra --python PATH` measures TFRA in the same way (see bench_embeddings.py for its environment); it has no bar.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from peers import environments
from peers.contender import Contender
from peers.worker import IDS_PER_STEP, WIDTH

RUNS = 3
#: float32 weights and accumulators, and what a key with its place may take.
BYTES_PER_ROW = 2 * 4 * WIDTH + 16
ASKED_MEMORY = 1.2
ASKED_SLOWEST = 8


def run(name: str, python: Path, rows: int) -> tuple[list[float], int]:
    """(seconds of each step, bytes at the peak) of one run."""
    contender = Contender(name, python)
    try:
        reply = contender.ask(do="grow", rows=rows)
    finally:
        contender.close()
    return reply["seconds"], reply["bytes"]


def main() -> None:
    """Three runs, one report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--table", choices=("tfplus", "tfra"), default="tfplus")
    parser.add_argument("--python", type=Path, help="interpreter of the table's environment")
    options = parser.parse_args()
    own = Path(sys.executable) if options.table == "tfplus" else None
    python = options.python or own or environments.python(options.table)
    seconds: list[list[float]] = []
    peaks: list[int] = []
    for number in range(RUNS):
        steps, peak = run(options.table, python, options.rows)
        seconds.append(steps)
        peaks.append(peak)
        print(f"run {number + 1}: {sum(steps):.1f} s, peak {peak / 2**20:,.0f} MiB", flush=True)
    rows = len(seconds[0]) * IDS_PER_STEP
    fastest = np.min(seconds, axis=0)
    median, slowest = float(np.median(fastest)), int(np.argmax(fastest))
    allowance = rows * BYTES_PER_ROW
    print(f"{options.table}: {rows:,} rows × {WIDTH} with Adagrad, {len(fastest)} steps of {IDS_PER_STEP:,} new ids")
    print(f"peak {max(peaks) / allowance:.2f}× of {allowance / 2**20:,.0f} MiB (asked: at most {ASKED_MEMORY}×)")
    print(
        f"slowest step {fastest[slowest] / median:.2f}× the median (asked: at most {ASKED_SLOWEST}×): "
        f"{fastest[slowest] * 1e3:.1f} ms at step {slowest}, median {median * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    main()
