"""Rows a second of a whole job with `--embedding tfplus` and with `--embedding none`, in one run.

    python tests/benchmarks/bench_deepfm.py [--repeat 5] [--rows N]

The flights with their labels known at once, `deepfm` of width 16, micro-batches of 1024; `none` has a layer of one
million rows. Nothing else in the job differs. Each measurement is a process of its own, by turns, imports not
counted. Asked for: 1.5 times the rows a second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from measurement import measure

JOB = Path(__file__).parents[2] / "contrib" / "penrose-flights" / "job.yaml"
SIDES = ("none", "tfplus")
OPTIONS = (
    "features.known_at=null",
    "executor.model=deepfm",
    "executor.width=16",
    "executor.embedding_rows=1000000",
    "executor.optimizer={name: adagrad, learning_rate: 0.05}",
    "micro_batch.rows=1024",
    "micro_batch.event_time=null",
)


def run_once(embedding: str, rows: int | None) -> dict[str, float]:
    """One run, to the end of the stream or after `rows`."""
    from penrose_host import run
    from penrose_host.config.layers import Flags
    from penrose_host.config.resolve import load
    from penrose_torch import building, learner  # noqa: F401

    options = OPTIONS if rows is None else (*OPTIONS, f"datasource.rows={rows}")
    with tempfile.TemporaryDirectory() as run_dir:
        resolved = load(JOB, Flags(embedding=embedding, options=options, run_dir=run_dir))
        began = time.perf_counter()
        result = run(resolved)
        seconds = time.perf_counter() - began
    metrics = result.metrics
    return {"rows_per_second": result.rows / seconds, "auc": metrics["auc"], "log_loss": metrics["log_loss"]}


def measured(embedding: str, rows: int | None) -> dict[str, float]:
    """One run in a process of its own."""
    return measure(__file__, "--side", embedding, *(["--rows", str(rows)] if rows is not None else []))


def main() -> None:
    """Measure by turns and print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(run_once(options.side, options.rows)))
        return
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(options.repeat):
        for side in SIDES:
            runs[side].append(measured(side, options.rows))
    medians = {side: statistics.median(run["rows_per_second"] for run in runs[side]) for side in SIDES}
    for side in SIDES:
        each = ", ".join(f"{run['rows_per_second']:,.0f}" for run in runs[side])
        quality = f"auc {runs[side][0]['auc']:.4f} · log loss {runs[side][0]['log_loss']:.4f}"
        print(f"{side:>8}  {medians[side]:>10,.0f} rows/s   ({each})   {quality}")
    print(f"tfplus / none: {medians['tfplus'] / medians['none']:.2f}x (asked for: 1.5x)")


if __name__ == "__main__":
    main()
