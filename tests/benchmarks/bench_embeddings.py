"""Ids a second of embedding tables, lookup and Adagrad update together: Penrose's `tfplus` and its peers, in one run.

    python tests/benchmarks/bench_embeddings.py [--rows 2000000 20000000] [--only tfplus fbgemm]

A step looks up 106,496 int64 ids (4096 rows × 26 features) in a table of width 16 and applies a gradient to each;
2 threads. All contenders get the same ids (Zipf 1.2, and uniform over the rows) and gradients. The peers' tables are
static, with the id as row number; `tfplus` and TFRA are dynamic and get the ids hashed, one to one, to 64 bits. Every
row is there, with its optimizer state, before anything is measured, and each contender is checked against NumPy first.

Each contender is a process of its own (`peers/`), since they need different environments; all tables of one size are
in memory together (20 million rows: about 3 GB each, 10 GB in all) and work by turns, a block of steps each, only one
at a time. A block during which other processes took more than `--quiet` cores is measured again, at most 8 times in
all; one that never got the machine to itself counts only where a contender has no other. Printed: the median of the
blocks, the slowest and the fastest, and ours relative to each peer with what is asked for in brackets; nothing is
asserted. Ours are `tfplus`, called from NumPy, and `tfplus_tensorflow`, the same tables as TensorFlow's ops. The two
that work in TensorFlow are left out of tables larger than `--tensorflow-most-rows`.

The peers' environments are made with venv and pip, pinned, in `.benchmarks/` (3 GB), or given as `--python-fbgemm`
(used for `torch` too) and `--python-tfra`. Ours are those of the Python that runs this.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from peers import environments, streams
from peers.check import check
from peers.contender import Contender
from peers.worker import IDS_PER_STEP, THREADS, WIDTH

OURS = ("tfplus", "tfplus_tensorflow")
IN_TENSORFLOW = ("tfplus_tensorflow", "tfra")
CONTENDERS = ("tfplus", "fbgemm", "torch", "tfplus_tensorflow", "tfra")
#: (stream, ours, peer) → how many times as fast we are to be.
ASKED = {
    ("zipf", "tfplus", "fbgemm"): 2.0,
    ("zipf", "tfplus", "torch"): 4.0,
    ("zipf", "tfplus", "tfra"): 5.0,
    ("zipf", "tfplus_tensorflow", "tfra"): 3.0,
    ("uniform", "tfplus", "fbgemm"): 1.0,
}
ATTEMPTS = 8


def python_of(name: str, options: argparse.Namespace) -> Path:
    """The interpreter that a contender runs in."""
    if name in OURS:
        return Path(sys.executable)
    if name == "tfra":
        return options.python_tfra or environments.python("tfra")
    return options.python_fbgemm or environments.python("fbgemm")


def memory_needed(rows: int, tables: int) -> int:
    """Bytes: weights and accumulators, and a quarter for keys, growth and the programs."""
    return tables * int(rows * WIDTH * 4 * 2 * 1.25)


def quiet_block(contender: Contender, stream: str, first: int, options: argparse.Namespace) -> tuple[float, float]:
    """(ids a second, cores others used) of one block; of the least disturbed one where the machine never gets quiet."""
    best = (0.0, float("inf"))
    for _ in range(ATTEMPTS):
        seconds, others = contender.measure(stream, first, options.steps)
        if others < best[1]:
            best = (options.steps * IDS_PER_STEP / seconds, others)
        if others <= options.quiet:
            break
    return best


def report(stream: str, blocks: dict[str, list[tuple[float, float]]], quiet: float) -> None:
    """Medians, spread and ratios of one stream, and how many blocks never had the machine to themselves."""
    speeds: dict[str, list[float]] = {}
    for name, results in blocks.items():
        alone = [speed / 1e6 for speed, others in results if others <= quiet]
        speeds[name] = alone or [speed / 1e6 for speed, _ in results]
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    for name, values in speeds.items():
        disturbed = sum(others > quiet for _, others in blocks[name])
        line = f"{stream:>8} · {name:<17}{medians[name]:7.2f} M ids/s ({min(values):.2f} to {max(values):.2f})"
        for ours in OURS if name not in OURS else ():
            if ours in medians and (ours == "tfplus" or name in IN_TENSORFLOW):
                asked = ASKED.get((stream, ours, name))
                line += f" · {ours} {medians[ours] / medians[name]:.2f}×" + (f" (asked: {asked:g}×)" if asked else "")
        print(line + (f" · {disturbed} of {len(blocks[name])} blocks disturbed" if disturbed else ""), flush=True)


def compare(rows: int, names: list[str], options: argparse.Namespace) -> None:
    """One table size: build, check, measure by turns, report."""
    print(f"{rows:,} rows × {WIDTH} · {IDS_PER_STEP:,} ids a step · {THREADS} threads · {', '.join(names)}", flush=True)
    available = int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0]) * 1024
    if memory_needed(rows, len(names)) > available:
        raise SystemExit(f"{len(names)} tables of {rows:,} rows do not fit {available >> 20:,} MiB; choose with --only")
    contenders: list[Contender] = []
    with tempfile.TemporaryDirectory() as folder:
        streams.write(Path(folder), rows)
        try:
            for name in names:
                contenders.append(Contender(name, python_of(name, options)))
                contenders[-1].ask(do="build", rows=rows, folder=folder)
                check(contenders[-1], Path(folder))
            for stream in streams.NAMES:
                blocks: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
                for contender in contenders:
                    contender.ask(do="run", stream=stream, first=0, steps=options.steps)
                for repeat in range(options.repeat):
                    for contender in contenders:
                        first = (repeat + 1) * options.steps
                        blocks[contender.name].append(quiet_block(contender, stream, first, options))
                report(stream, blocks, options.quiet)
        finally:
            for contender in contenders:
                contender.close()


def main() -> None:
    """Compare at every size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000_000, 20_000_000])
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--repeat", type=int, default=7, help="blocks of each contender and stream")
    parser.add_argument("--steps", type=int, default=20, help="steps of a block")
    parser.add_argument("--quiet", type=float, default=0.2, help="cores that others may use during a block")
    parser.add_argument("--tensorflow-most-rows", type=int, default=2_000_000)
    parser.add_argument("--python-fbgemm", type=Path, help="interpreter with torch and fbgemm-gpu-cpu")
    parser.add_argument("--python-tfra", type=Path, help="interpreter with tensorflow-recommenders-addons")
    options = parser.parse_args()
    for rows in options.rows:
        names = [name for name in CONTENDERS if name in options.only]
        small = rows <= options.tensorflow_most_rows
        compare(rows, [name for name in names if small or name not in IN_TENSORFLOW], options)


if __name__ == "__main__":
    main()
