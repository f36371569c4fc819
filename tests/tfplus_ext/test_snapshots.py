"""Full and delta snapshots of a table: their cost, what they survive, and that training goes on as if nothing was."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tfplus_support import Interrupted, content, make_table, restored, save, train

from penrose_host.errors import CheckpointError, TrainingError
from penrose_host.testing.memory import MemoryCheckpoints
from penrose_tfplus import backend_table
from penrose_tfplus.backend_table import TfplusTable

#: Seconds that a snapshot may take to be written beside training.
PATIENCE = 60


def keys_of(generator: np.random.Generator, count: int, most: int = 20_000) -> Any:
    """Random keys, some more than once."""
    return generator.integers(-most, most, count)


def disturb(table: TfplusTable, generator: np.random.Generator, seconds: int) -> None:
    """Every kind of change at once: steps, new keys, overwritten rows, deletions, and some of those keys again."""
    inner = table._table
    train(table, keys_of(generator, 500), seconds, seconds)
    gone = keys_of(generator, 200)
    inner.delete(gone)
    inner.write(gone[:50], np.full((50, table.spec.width), seconds, np.float32), "assign")
    if seconds % 5 == 0:
        inner.evict(before=max(0, seconds - 12) * 1_000_000)


@pytest.mark.parametrize("admission", [None, {"count": 3}, {"probability": 0.2}], ids=["all", "count", "probability"])
def test_a_snapshot_is_one_instant_whatever_happens_while_it_is_written(
    admission: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full, then deltas, each written on another thread while training, deletions and evictions go on."""
    monkeypatch.setattr(backend_table, "_FILE_BYTES", 1 << 14)
    table, checkpoints = make_table(6, "adam", threads=2, shards=16, admission=admission), MemoryCheckpoints()
    generator, universe = np.random.default_rng(3), np.arange(-20_000, 20_000)
    for _ in range(4):
        train(table, universe, 1)
    since, seconds, beside = None, 0, 0
    with ThreadPoolExecutor(1) as pool:
        for number in range(6):
            instant = content(table, universe)
            writing = pool.submit(checkpoints.write, f"c{number}", table.snapshot(since))
            while not writing.done():
                seconds += 1
                disturb(table, generator, seconds)
                beside += not writing.done()
            since = writing.result(PATIENCE)
            if number == 3:
                table.aborted()
                since = save(table, checkpoints, "again", None)
                continue
            table.committed(since)
            assert content(restored(table, checkpoints, since, shards=4), universe) == instant
    assert beside > 5, "nothing was trained beside the writing"


@pytest.mark.parametrize("shards", [1, 16, 256])
@pytest.mark.parametrize("admission", [None, {"count": 3}, {"probability": 0.3}], ids=["all", "count", "probability"])
def test_a_restored_table_goes_on_like_one_that_never_stopped(shards: int, admission: Any) -> None:
    """On other shards too; keys that wait for admission, evictions by age and the clock of both are part of it."""
    policies = {"admission": admission, "eviction": {"max_age": "60s", "every": 7}}
    table, checkpoints = make_table(4, "adam", shards=16, **policies), MemoryCheckpoints()
    generator, universe = np.random.default_rng(5), np.arange(-300, 300)
    ref = None
    for seconds in range(40):
        train(table, keys_of(generator, 100, 300), seconds, 3 * seconds)
        if seconds in (15, 25):
            ref = save(table, checkpoints, f"c{seconds}", ref)
    ref = save(table, checkpoints, "last", ref)
    resumed = restored(table, checkpoints, ref, shards=shards, threads=2)
    for seconds in range(40, 90):
        keys = keys_of(generator, 100, 300)
        train(table, keys, seconds, 3 * seconds)
        train(resumed, keys, seconds, 3 * seconds)
    assert content(resumed, universe) == content(table, universe)
    assert table.stats().counters["evicted"] > 50
    assert {
        name: count for name, count in resumed.stats().counters.items() if name != "bytes"
    } == table.stats().counters


@pytest.mark.parametrize("optimizer", ["sgd", "rowwise_adagrad", "adagrad", "adam"])
def test_a_delta_after_touching_one_row_in_a_hundred_is_small(optimizer: str) -> None:
    table, checkpoints = make_table(16, optimizer), MemoryCheckpoints()
    keys = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, 50_000)
    train(table, keys, 1)
    base = save(table, checkpoints, "base")
    train(table, keys[::100], 2)
    delta = save(table, checkpoints, "delta", base)
    new = sum(file.bytes for file in delta.files.values() if file.checkpoint == "delta")
    assert 0 < new <= 0.03 * sum(file.bytes for file in base.files.values())
    assert content(restored(table, checkpoints, delta), keys) == content(table, keys)


def test_a_snapshot_without_changes_writes_nothing() -> None:
    table, checkpoints = make_table(), MemoryCheckpoints()
    train(table, np.arange(100), 1)
    base = save(table, checkpoints, "base")
    table.lookup(np.arange(500), train=False)
    assert save(table, checkpoints, "same", base).files == base.files


def test_counters_that_changed_alone_are_saved() -> None:
    """Steps that touch no row move the clock of evictions, and what admission draws next."""
    table, checkpoints = make_table(admission={"probability": 1e-9}), MemoryCheckpoints()
    table._table.write(np.arange(100), np.ones((100, 3), np.float32))
    base = save(table, checkpoints, "base")
    train(table, [1000], 1, seconds=50)
    delta = save(table, checkpoints, "delta", base)
    again = restored(table, checkpoints, delta)
    assert again._table.counters == table._table.counters
    assert again._table.counters["now"] == 50
    assert save(again, checkpoints, "same", delta).files == delta.files


def test_keys_that_go_and_come_back_are_what_they_are_now() -> None:
    """A base and three deltas: deleted; back, with a fresh row; deleted again, with a deletion aborted between."""
    table, checkpoints, keys = make_table(admission={"count": 2}), MemoryCheckpoints(), np.arange(1000)
    table._table.write(keys, np.ones((1000, 3), np.float32))
    ref = save(table, checkpoints, "base")
    some = keys[:20]

    def delete() -> None:
        assert table._table.delete(some) == len(some)

    def come_back() -> None:
        train(table, np.repeat(some, 2), 1)

    def wait() -> None:
        table._table.delete(some)
        train(table, some, 2)

    for number, change in enumerate((delete, come_back, delete, wait, come_back, delete)):
        change()
        table.snapshot(ref)
        table.aborted()
        ref = save(table, checkpoints, f"c{number}", ref)
        assert content(restored(table, checkpoints, ref), keys) == content(table, keys)
    assert {file.checkpoint for file in ref.files.values()} == {"base", *(f"c{number}" for number in range(6))}


def test_after_everything_was_removed_the_next_snapshot_has_none_of_it() -> None:
    table, checkpoints, keys = make_table(admission={"count": 2}), MemoryCheckpoints(), np.arange(1000)
    for _ in range(2):
        train(table, keys, 1)
    train(table, keys + 1000, 1)
    base = save(table, checkpoints, "base")
    table._table.clear()
    train(table, [7, 7], 2)
    ref = save(table, checkpoints, "after", base)
    again = restored(table, checkpoints, ref)
    assert (len(again._table), again._table.candidates) == (1, 0)
    assert content(again, keys) == content(table, keys)


@pytest.mark.parametrize("what", ["aborted", "cleared"])
def test_writing_a_snapshot_that_is_no_more_is_an_error(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is written, and between two of its files; the next snapshot is whole."""
    monkeypatch.setattr(backend_table, "_FILE_BYTES", 1)
    table, checkpoints, keys = make_table(), MemoryCheckpoints(), np.arange(1000)
    train(table, keys, 1)
    ends: dict[str, Callable[[], None]] = {"aborted": table.aborted, "cleared": table._table.clear}
    files = 0

    def between() -> None:
        nonlocal files
        files += 1
        if files == 3:
            ends[what]()

    snapshot = table.snapshot(None)
    ends[what]()
    with pytest.raises(CheckpointError, match="was aborted, or its table cleared"):
        checkpoints.write("early", snapshot)
    train(table, keys, 2)
    with pytest.raises(CheckpointError, match="was aborted, or its table cleared"):
        checkpoints.write("late", Interrupted(table.snapshot(None), between))
    table.aborted()
    train(table, keys[::2], 3)
    assert content(restored(table, checkpoints, save(table, checkpoints, "whole")), keys) == content(table, keys)


def test_a_snapshot_is_written_once() -> None:
    table, checkpoints = make_table(), MemoryCheckpoints()
    train(table, np.arange(10), 1)
    snapshot = table.snapshot(None)
    checkpoints.write("c1", snapshot)
    with pytest.raises(CheckpointError, match=r"0 of 10 rows .* can be written once"):
        checkpoints.write("c2", snapshot)


def test_two_snapshots_at_a_time_are_refused() -> None:
    table, checkpoints = make_table(), MemoryCheckpoints()
    train(table, np.arange(10), 1)
    first = table.snapshot(None)
    with pytest.raises(TrainingError, match="neither committed nor aborted"):
        table.snapshot(None)
    table.committed(checkpoints.write("c1", first))
    table.snapshot(None)


def test_so_many_deletions_that_they_are_not_remembered_make_the_next_snapshot_full() -> None:
    table, checkpoints, keys = make_table(1, shards=1), MemoryCheckpoints(), np.arange(200_000)
    table._table.write(keys, np.ones((len(keys), 1), np.float32))
    base = save(table, checkpoints, "base")
    for _ in range(2):
        table._table.delete(keys[:70_000])
        table._table.write(keys[:70_000], np.zeros((70_000, 1), np.float32))
    table._table.delete(keys[:10])
    ref = save(table, checkpoints, "next", base)
    assert {file.checkpoint for file in ref.files.values()} == {"next"}
    assert content(restored(table, checkpoints, ref), keys) == content(table, keys)


def test_a_chain_of_deltas_ends() -> None:
    """Restoring reads all of it, and retention keeps every checkpoint that it lies in."""
    table, checkpoints, keys = make_table(), MemoryCheckpoints(), np.arange(20_000)
    train(table, keys, 0)
    ref = save(table, checkpoints, "c0")
    chains = []
    for number in range(1, 70):
        train(table, keys[number : number + 1 + number % 3], number)
        ref = save(table, checkpoints, f"c{number}", ref)
        chains.append(len({file.checkpoint for file in ref.files.values()}))
    assert max(chains) == 32
    assert chains.count(1) == 2
    assert content(restored(table, checkpoints, ref), keys) == content(table, keys)
