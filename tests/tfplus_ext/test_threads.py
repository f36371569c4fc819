"""Threads change nothing but the time that a batch takes; several callers and forked children are safe."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from table_content import content

from penrose_tfplus import Table

SECOND = 1_000_000
#: Batches from here on are shared among threads.
SHARED = 4096
SIZES = (SHARED - 1, SHARED, 20_000)


def stream(size: int, *, steps: int = 6) -> Any:
    """Skewed keys, many repeated, with gradients whose sum depends on the order of adding."""
    random = np.random.default_rng(size)
    for step in range(steps):
        keys = random.zipf(1.3, size) % 30_000 - 15_000 + 500 * step
        yield keys.astype(np.int64), random.normal(size=(size, 3)).astype(np.float32), step * SECOND


def trained(size: int, threads: int, **options: Any) -> tuple[Any, list[bytes]]:
    table = Table(3, optimizer="adam", initializer="normal", threads=threads, **options)
    rows = []
    for keys, gradients, time in stream(size):
        rows.append(table.lookup(keys, train=True).tobytes())
        rows.append(table.lookup(keys[::-1], unseen="first").tobytes())
        table.apply(keys, gradients, time=time)
        table.write(keys[:SHARED], gradients[:SHARED], "add")
        table.evict(before=max(0, time - 3 * SECOND), min_norm=0.005, max_rows=9000)
    return content(table), rows


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "options", [{}, {"admit_count": 3}, {"admit_probability": 0.4}], ids=["all", "count", "chance"]
)
def test_any_number_of_threads_gives_the_same_bytes(size: int, options: dict[str, Any]) -> None:
    alone = trained(size, 1, **options)
    for threads in (2, 3, 8):
        assert trained(size, threads, **options) == alone


def test_any_number_of_shards_gives_the_same_bytes() -> None:
    assert trained(SHARED, 3, shards=1) == trained(SHARED, 3, shards=256) == trained(SHARED, 1, shards=2)


def test_at_the_limit_the_same_rows_go() -> None:
    alone = trained(20_000, 1, max_rows=8000, at_limit="evict")
    assert trained(20_000, 3, max_rows=8000, at_limit="evict") == alone


def test_a_batch_in_pieces_leaves_the_same_rows_as_whole() -> None:
    """Keys that come once: what is above the threshold is above it for the time taken only."""
    keys = np.random.default_rng(0).permutation(10_000)
    gradients = np.random.default_rng(1).normal(size=(10_000, 4)).astype(np.float32)
    whole, pieces = (Table(4, optimizer="adagrad", initializer="uniform", threads=3) for _ in range(2))
    for table, step in ((whole, 10_000), (pieces, 1000)):
        for start in range(0, 10_000, step):
            part = slice(start, start + step)
            table.lookup(keys[part], train=True)
            table.apply(keys[part], gradients[part], time=SECOND)
    assert content(whole)[:5] == content(pieces)[:5]


def run_at_once(works: list[Callable[[], None]]) -> None:
    """On a thread each. Raises the first exception of any of them."""
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_several_callers_at_once_lose_nothing() -> None:
    table = Table(2, optimizer="sgd", optimizer_parameters={"learning_rate": 1.0}, threads=2)
    batches = [np.arange(start, start + 5000) % 7000 for start in range(0, 4000, 1000)]
    rounds = 20

    def train(keys: Any) -> None:
        for _ in range(rounds):
            table.lookup(keys, train=True)
            table.apply(keys, -np.ones((len(keys), 2), np.float32))

    def watch() -> None:
        for _ in range(3 * rounds):
            rows = table.lookup(np.arange(7000))
            # A row is written whole: both its numbers are as old.
            assert (rows[:, 0] == rows[:, 1]).all()
            keys = table.keys()
            assert (np.diff(keys) > 0).all()
            assert len(keys) <= len(table)

    run_at_once([*(lambda keys=keys: train(keys) for keys in batches), watch, watch])
    expected = rounds * np.bincount(np.concatenate(batches), minlength=7000)
    assert table.counts(np.arange(7000)).tolist() == expected.tolist()
    assert table.lookup(np.arange(7000))[:, 0].tolist() == expected.tolist()


def test_callers_that_add_and_remove_leave_a_whole_table() -> None:
    table = Table(2, initializer="constant", initializer_parameters={"value": 3.0}, threads=2, admit_count=2)

    def churn(start: int) -> None:
        for round_ in range(10):
            keys = np.arange(start, start + 5000) + 400 * round_
            rows = table.lookup(np.repeat(keys, 2), train=True)
            assert (rows == 3.0).all()
            table.delete(keys[::2])
            table.evict(max_rows=4000)

    run_at_once([lambda start=start: churn(start) for start in (0, 10**6, 2 * 10**6)])
    keys = table.keys()
    assert len(keys) == len(table) <= 4000
    assert (table.lookup(keys) == 3.0).all()
    table.clear()
    assert len(table) == 0


def test_rows_handed_out_outlive_the_table_and_later_lookups() -> None:
    table = Table(4, initializer="normal", threads=1)
    keys = np.arange(2000)
    held = [table.lookup(keys + shift, train=True) for shift in range(6)]
    copies = [rows.copy() for rows in held]
    for shift in range(6):
        table.lookup(keys - shift, train=True)
    del table
    for rows, copy in zip(held, copies, strict=True):
        np.testing.assert_array_equal(rows, copy)
        rows += 1.0


@pytest.mark.parametrize("threads", [1, 3])
def test_a_forked_child_uses_its_copy_of_a_table(threads: int) -> None:
    table = Table(3, optimizer="adam", initializer="normal", threads=threads)
    batches = list(stream(20_000, steps=4))
    for keys, gradients, time in batches[:2]:
        table.lookup(keys, train=True)
        table.apply(keys, gradients, time=time)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        # No exception may leave the child: it would run the other tests.
        try:
            for keys, gradients, time in batches[2:]:
                table.lookup(keys, train=True)
                table.apply(keys, gradients, time=time)
            os.write(write, table.lookup(table.keys())[:1000].tobytes())
            del table
            os._exit(0)
        finally:
            os._exit(1)
    os.close(write)
    timer = threading.Timer(60, lambda: os.kill(child, 9))
    timer.start()
    with os.fdopen(read, "rb") as pipe:
        found = pipe.read()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    timer.join()
    for keys, gradients, time in batches[2:]:
        table.lookup(keys, train=True)
        table.apply(keys, gradients, time=time)
    assert status == 0
    assert found == table.lookup(table.keys())[:1000].tobytes()
