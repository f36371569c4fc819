"""Rows a second of Penrose and of a hand-written PyTorch loop that does the same work, in one run.

    python tests/benchmarks/bench_overhead.py [--repeat 5] [--rows N]

Both read the flights, hash, score on arrival, wait for labels, train and measure; same model, optimizer and
cadence, one thread for PyTorch. Each measurement is a process of its own, by turns, imports not counted.
Asked for: at least 0.95 with micro-batches of 1024 rows, at least 0.8 at the main job's cadence.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

from measurement import measure

JOB = Path(__file__).parents[2] / "contrib" / "penrose-flights" / "job.yaml"
#: name → most rows of a micro-batch, minutes of event time.
CADENCES: dict[str, tuple[int, int | None]] = {"1024 rows": (1024, None), "main job": (512, 5)}
SIDES = ("hand-written", "penrose")


def handwritten(rows: int | None, cadence: str) -> dict[str, float]:
    """One measurement of the peer."""
    warnings.simplefilter("ignore")
    import handwritten

    return handwritten.main(rows, *CADENCES[cadence])


def penrose(rows: int | None, cadence: str) -> dict[str, float]:
    """One measurement of Penrose: the main job, with its predictions and checkpoints."""
    import torch  # noqa: F401 - imports are not measured

    from penrose_host import run
    from penrose_host.config.layers import Flags
    from penrose_host.config.resolve import load
    from penrose_torch import learner, linear  # noqa: F401

    max_rows, minutes = CADENCES[cadence]
    options = [f"micro_batch.rows={max_rows}", f"micro_batch.event_time={f'{minutes}m' if minutes else 'null'}"]
    if rows is not None:
        options.append(f"datasource.rows={rows}")
    with tempfile.TemporaryDirectory() as run_dir:
        resolved = load(JOB, Flags(options=tuple(options), run_dir=run_dir))
        began = time.perf_counter()
        result = run(resolved)
        seconds = time.perf_counter() - began
    metrics = result.metrics
    return {"rows_per_second": result.rows / seconds, "auc": metrics["auc"], "log_loss": metrics["log_loss"]}


def measured(side: str, rows: int | None, cadence: str) -> dict[str, float]:
    """One measurement in a process of its own."""
    more = ["--rows", str(rows)] if rows is not None else []
    return measure(__file__, "--side", side, "--cadence", cadence, *more)


def main() -> None:
    """Measure by turns and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--cadence", choices=CADENCES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side = handwritten if options.side == "hand-written" else penrose
        print(json.dumps(side(options.rows, options.cadence)))
        return
    for cadence in CADENCES:
        results: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(options.repeat):
            for side in SIDES:
                results[side].append(measured(side, options.rows, cadence))
        medians = {side: statistics.median(r["rows_per_second"] for r in results[side]) for side in SIDES}
        for side in SIDES:
            spread = [round(r["rows_per_second"]) for r in results[side]]
            learned = f"auc {results[side][0]['auc']:.4f}, log loss {results[side][0]['log_loss']:.4f}"
            print(f"{cadence:>10} · {side:<12} {medians[side]:>10,.0f} rows/s (median of {spread}) · {learned}")
        print(f"{cadence:>10} · ratio {medians['penrose'] / medians['hand-written']:.2f}", flush=True)


if __name__ == "__main__":
    main()
