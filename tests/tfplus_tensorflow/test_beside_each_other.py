"""Several threads and several variables at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from tfplus_tensorflow_support import FIRST, assert_same_state, int64, make_kv

THREADS, STEPS = 4, 60


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
def test_steps_of_many_threads_on_one_variable_are_all_there(graph: bool) -> None:
    kv = make_kv(4, optimizer="sgd", optimizer_parameters={"learning_rate": 1.0}, threads=2)

    def step(keys: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(kv.gather(keys, train=True))
        kv.apply_gradients(tape.gradient(loss, kv))

    run = tf.function(step, reduce_retracing=True) if graph else step
    start = threading.Barrier(THREADS)

    def work(seed: int) -> int:
        random = np.random.default_rng(seed)
        start.wait(60)
        total = 0
        for _ in range(STEPS):
            keys = random.integers(0, 50, int(random.integers(0, 40)))
            run(tf.constant(keys, tf.int64))
            total += len(keys)
        return total

    with ThreadPoolExecutor(THREADS) as pool:
        total = sum(pool.map(work, range(THREADS), timeout=120))
    keys = kv.keys()
    counts = kv.counts(keys).numpy()
    assert counts.sum() == total
    assert (kv.gather(keys).numpy() == FIRST - counts[:, None]).all()
    assert kv.counters()["steps"] == THREADS * STEPS


def test_states_are_taken_while_others_train() -> None:
    kv = make_kv(2, optimizer="sgd")
    stop = threading.Event()

    def train() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            kv.insert(np.arange(2000), np.full((2000, 2), number, np.float32))

    def look(_: int) -> None:
        for _ in range(15):
            rows = kv.state()["rows"].numpy()
            assert (rows == rows[:1]).all()  # one instant: a batch is in it whole, or not at all

    with ThreadPoolExecutor(3) as pool:
        training = pool.submit(train)
        try:
            list(pool.map(look, range(2), timeout=120))
        finally:
            stop.set()
        training.result(60)


def test_several_variables_are_trained_by_one_function() -> None:
    def many(wrap: Callable[..., Callable[..., None]]) -> list[dict[str, tf.Tensor]]:
        tables = [make_kv(2, name=f"t{number}", optimizer="adam") for number in range(3)]

        def step(keys: tf.Tensor) -> None:
            with tf.GradientTape() as tape:
                rows = [kv.gather(keys + shift, train=True) for shift, kv in enumerate(tables)]
                loss = tf.reduce_sum(tf.add_n(rows) ** 2)
            for gradient, kv in zip(tape.gradient(loss, tables), tables, strict=True):
                kv.apply_gradients(gradient)

        run = wrap(step)
        for first in range(10):
            run(tf.range(first, first + 5, dtype=tf.int64))
        return [kv.state() for kv in tables]

    for eager, graph in zip(many(lambda step: step), many(tf.function), strict=True):
        assert_same_state(graph, eager)


def test_results_do_not_depend_on_the_threads_of_a_table() -> None:
    states = []
    for threads in (1, 3):
        kv, random = make_kv(8, optimizer="adam", threads=threads), np.random.default_rng(5)
        for _ in range(3):
            keys = tf.constant(random.integers(0, 9000, 10_000))
            kv.gather(keys, train=True)
            gradients = random.standard_normal((10_000, 8)).astype(np.float32)
            kv.apply_gradients(tf.IndexedSlices(tf.constant(gradients), keys))
        states.append(kv.state())
    assert_same_state(*states)


def test_rows_of_a_large_lookup_outlive_their_table_and_later_lookups() -> None:
    """They lie in memory that is used again, but not before they are let go."""
    kv = make_kv(16)
    keys = np.arange(40_000)
    kv.insert(keys, np.repeat(keys[:, None], 16, axis=1).astype(np.float32))
    first = kv.gather(keys)
    view = first.numpy()
    others = [kv.gather(keys + shift) for shift in (1, 2, 3)]
    del first
    others.append(kv.gather(keys + 4))
    del kv
    assert (view[:, 0] == keys).all()
    for shift, rows in enumerate(others, start=1):
        assert (rows.numpy()[:-4, 3] == keys[shift : shift + 39_996]).all()


def test_a_lookup_that_another_one_depends_on_sees_what_was_trained() -> None:
    kv = make_kv(1, optimizer="sgd", optimizer_parameters={"learning_rate": 1.0})

    @tf.function
    def steps(key: tf.Tensor) -> tf.Tensor:
        for _ in tf.range(5):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(kv.gather(key, train=True))
            kv.apply_gradients(tape.gradient(loss, kv))
        return kv.gather(key)

    assert steps(int64(1)).numpy().tolist() == [[FIRST - 5]]
