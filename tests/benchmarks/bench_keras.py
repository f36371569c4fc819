"""Rows a second of DeepFM in TensorFlow: plain Keras, the same with a dynamic table, and a whole job, in one run.

    python tests/benchmarks/bench_keras.py [--repeat 5] [--rows N]

The flights, their labels known at once, micro-batches of 1024, embeddings of width 16 beside a weight, Adagrad. All
sides train the same network on the same rows, once, in the order of the stream:

* `keras`: `keras.layers.Embedding` of one million rows that ids are hashed into, trained by `Model.fit`;
* `table`: the layer `penrose_tfplus_tensorflow.Embedding` in its place, trained by `Model.fit`;
* `penrose`: the whole job with `--executor tensorflow --embedding tfplus`, which also reads, encodes, scores every row
  before it is trained on, keeps metrics and checkpoints.

The first two have all data in memory as arrays, and are warmed up; the third pays for its compilation. Each
measurement is a process of its own, by turns, imports not counted. Asked for: 1.5 times the rows a second of `keras`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measurement import measure

JOB = Path(__file__).parents[2] / "contrib" / "penrose-flights" / "job.yaml"
SIDES = ("keras", "table", "penrose")
BATCH, WIDTH, LAYER_ROWS, RATE, WARM_UP = 1024, 16, 1_000_000, 0.05, 20
HIDDEN = (64, 32)
#: As Keras's Adagrad is by default.
ADAGRAD = {"learning_rate": RATE, "initial_accumulator": 0.1, "epsilon": 1e-7}
OPTIONS = (
    "features.known_at=null",
    "executor.model=deepfm",
    f"executor.width={WIDTH}",
    f"executor.hidden={list(HIDDEN)}",
    f"executor.optimizer={json.dumps({'name': 'adagrad', **ADAGRAD})}",
    f"executor.dense_optimizer={json.dumps({'name': 'adagrad', **ADAGRAD})}",
    "executor.reduction=mean",
    "executor.threads=2",
    f"micro_batch.rows={BATCH}",
    "micro_batch.event_time=null",
)


def fitted(side: str, rows: int | None) -> dict[str, float]:
    """`Model.fit` over arrays."""
    import keras
    import tensorflow as tf
    from handwritten import FEATURES, hash_features, read_flights

    flights = read_flights(rows)
    ids, labels = hash_features(flights), (flights["arr_delay"] >= 15).to_numpy(np.float32)
    width = 1 + WIDTH
    inputs = keras.Input((len(FEATURES),), dtype="int64")
    if side == "keras":
        ids %= LAYER_ROWS
        embedding: Any = keras.layers.Embedding(
            LAYER_ROWS, width, embeddings_initializer=keras.initializers.RandomNormal(stddev=0.01)
        )
        Model = keras.Model  # noqa: N806 - it is a class
    else:
        from penrose_tfplus_tensorflow import Embedding, Model

        adagrad = {"optimizer": "adagrad", "optimizer_parameters": ADAGRAD}
        embedding = Embedding(width, options={**adagrad, "initializer": "normal", "threads": 2})
    slots = embedding(inputs)
    weights, factors = slots[..., :1], slots[..., 1:]
    pairs = keras.ops.square(keras.ops.sum(factors, 1)) - keras.ops.sum(keras.ops.square(factors), 1)
    deep: Any = keras.layers.Flatten()(factors)
    for units in HIDDEN:
        deep = keras.layers.Dense(units, activation="relu")(deep)
    logits = keras.ops.sum(weights, 1) + 0.5 * keras.ops.sum(pairs, 1, keepdims=True) + keras.layers.Dense(1)(deep)
    model = Model(inputs, logits)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adagrad(RATE), loss=loss)

    def batches(ids: np.ndarray, labels: np.ndarray) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices((ids, labels[:, None])).batch(BATCH, drop_remainder=True).prefetch(4)

    model.fit(batches(ids[: WARM_UP * BATCH], labels[: WARM_UP * BATCH]), verbose=0)
    began = time.perf_counter()
    history = model.fit(batches(ids, labels), verbose=0)
    seconds = time.perf_counter() - began
    return {"rows_per_second": len(ids) // BATCH * BATCH / seconds, "loss": history.history["loss"][0]}


def whole_job(rows: int | None) -> dict[str, float]:
    """One run, to the end of the stream or after `rows`."""
    import keras  # noqa: F401 - imports are not counted

    from penrose_host import run
    from penrose_host.config.layers import Flags
    from penrose_host.config.resolve import load

    options = OPTIONS if rows is None else (*OPTIONS, f"datasource.rows={rows}")
    with tempfile.TemporaryDirectory() as run_dir:
        resolved = load(JOB, Flags(executor="tensorflow", embedding="tfplus", options=options, run_dir=run_dir))
        began = time.perf_counter()
        result = run(resolved)
        seconds = time.perf_counter() - began
    return {"rows_per_second": result.rows / seconds, "loss": result.metrics["log_loss"]}


def main() -> None:
    """Measure by turns and print medians and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(whole_job(options.rows) if options.side == "penrose" else fitted(options.side, options.rows)))
        return
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    limited = [] if options.rows is None else ["--rows", str(options.rows)]
    for _ in range(options.repeat):
        for side in SIDES:
            runs[side].append(measure(__file__, "--side", side, *limited))
    medians = {side: statistics.median(run["rows_per_second"] for run in runs[side]) for side in SIDES}
    for side in SIDES:
        each = ", ".join(f"{run['rows_per_second']:,.0f}" for run in runs[side])
        line = f"{side:>8}  {medians[side]:>10,.0f} rows/s   ({each})   log loss {runs[side][0]['loss']:.4f}"
        print(line + ("" if side == "keras" else f"   {medians[side] / medians['keras']:.2f}x keras (asked for: 1.5x)"))


if __name__ == "__main__":
    main()
