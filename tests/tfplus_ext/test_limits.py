"""Which keys become rows, and what happens at a limit: exact counts, fair draws, nothing half done."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from table_content import content

from penrose_tfplus import Table, TableFull

SECOND = 1_000_000


def keys_of(*keys: int) -> Any:
    return np.array(keys, np.int64)


def table_of(rows: int, **options: Any) -> Table:
    """A table with the keys 0, 1, 2, …, each last seen one second after the one before."""
    table = Table(
        2, optimizer="sgd", initializer="constant", initializer_parameters={"value": 1.0}, threads=1, **options
    )
    for key in range(rows):
        table.lookup(keys_of(key), train=True)
        table.apply(keys_of(key), np.ones((1, 2), np.float32), time=key * SECOND)
    return table


# -- admission by count ----------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 4), max_size=12), max_size=10), st.integers(1, 20))
def test_a_key_becomes_a_row_in_the_very_batch_that_completes_its_count(batches: list[list[int]], count: int) -> None:
    table = Table(
        1, optimizer="sgd", initializer="constant", initializer_parameters={"value": 5.0}, admit_count=count, threads=1
    )
    pool, seen = np.arange(5), np.zeros(5, np.int64)
    for batch in batches:
        keys = np.array(batch, np.int64)
        seen += np.bincount(keys, minlength=5)
        rows = table.lookup(keys, train=True)
        assert rows[:, 0].tolist() == [5.0 if seen[key] >= count else 0.0 for key in batch]
        assert table.contains(pool).tolist() == (seen >= count).tolist()
        assert table.counts(pool).tolist() == seen.tolist()
        assert table.candidates == ((seen > 0) & (seen < count)).sum()


def test_scoring_admits_nothing() -> None:
    table = Table(1, admit_count=2, threads=1)
    for _ in range(5):
        table.lookup(keys_of(1, 1, 1))
        table.lookup(keys_of(1, 1, 1), unseen="first")
    assert len(table) == table.candidates == 0
    assert table.counts(keys_of(1)).tolist() == [0]


def test_keys_that_wait_read_zeros_and_take_no_update() -> None:
    table = Table(2, optimizer="sgd", initializer="normal", admit_count=3, threads=1)
    keys = keys_of(1, 2, 2, 2)
    rows = table.lookup(keys, train=True)
    table.apply(keys, np.ones((4, 2), np.float32))
    assert (rows[0] == 0).all()
    assert (rows[1:] != 0).all()
    assert table.keys().tolist() == [2]
    table.apply(keys_of(1, 9), np.ones((2, 2), np.float32))
    assert table.keys().tolist() == [2]


# -- admission by probability ----------------------------------------------------------------------


def admitted(keys: Any, probability: float, *, batches: int = 1, **options: Any) -> Any:
    table = Table(1, admit_probability=probability, **options)
    for _ in range(batches):
        table.lookup(keys, train=True)
    return table.keys()


@pytest.mark.parametrize("probability", [0.03, 0.5, 0.9])
def test_the_share_admitted_is_the_probability(probability: float) -> None:
    rows = len(admitted(np.arange(20_000), probability))
    deviation = (20_000 * probability * (1 - probability)) ** 0.5
    assert abs(rows - 20_000 * probability) < 4 * deviation


def test_every_sighting_is_a_draw_in_one_batch_and_in_several() -> None:
    keys = np.arange(20_000)
    together = len(admitted(np.repeat(keys, 3), 0.2))
    apart = len(admitted(keys, 0.2, batches=3))
    expected = 20_000 * (1 - 0.8**3)
    assert abs(together - expected) < 300
    assert abs(apart - expected) < 300


def test_draws_are_the_same_in_every_run_and_differ_by_seed() -> None:
    keys = np.arange(10_000)
    one = admitted(keys, 0.3, batches=2, seed=1, threads=1, shards=1)
    assert admitted(keys[::-1], 0.3, batches=2, seed=1, threads=3).tolist() == one.tolist()
    assert admitted(keys, 0.3, batches=2, seed=2).tolist() != one.tolist()


def test_a_probability_of_one_admits_all() -> None:
    assert len(admitted(np.arange(5000), 1.0)) == 5000


# -- limits ----------------------------------------------------------------------------------------


def test_at_the_limit_training_fails_and_nothing_changed() -> None:
    table = table_of(10, max_rows=10)
    before = content(table)
    for keys in (keys_of(10), keys_of(3, 10), np.arange(100)):
        gradients = np.ones((len(keys), 2), np.float32)
        for operation in (
            lambda keys=keys: table.lookup(keys, train=True),
            lambda keys=keys, gradients=gradients: table.apply(keys, gradients, time=SECOND),
            lambda keys=keys, gradients=gradients: table.write(keys, gradients),
        ):
            with pytest.raises(TableFull, match=r"holds 10 rows and may hold 10"):
                operation()
            assert content(table) == before
    table.lookup(np.arange(10), train=True)  # those that are there go on
    table.delete(keys_of(4))
    table.lookup(keys_of(10), train=True)
    assert len(table) == 10


def test_a_full_table_goes_on_where_no_new_key_is_admitted() -> None:
    for options in ({"admit_count": 3}, {"admit_probability": 1e-9}):
        table = Table(2, optimizer="sgd", max_rows=3, threads=1, **options)
        table.write(np.arange(3), np.ones((3, 2), np.float32))
        keys = np.arange(100)
        table.lookup(keys, train=True)
        table.apply(keys, np.ones((100, 2), np.float32))
        assert table.keys().tolist() == [0, 1, 2]
    table = Table(2, max_rows=3, admit_count=2, threads=1)
    table.write(np.arange(3), np.ones((3, 2), np.float32))
    table.lookup(keys_of(7), train=True)
    before = content(table)
    with pytest.raises(TableFull):
        table.lookup(keys_of(7, 8), train=True)
    assert content(table) == before


def test_a_full_table_evicts_only_for_keys_that_are_admitted() -> None:
    table = Table(2, max_rows=10, at_limit="evict", admit_count=2, threads=1)
    table.write(np.arange(10), np.ones((10, 2), np.float32))
    table.lookup(np.arange(100, 200), train=True)
    assert table.keys().tolist() == list(range(10))


def test_at_the_limit_the_oldest_tenth_goes() -> None:
    table = table_of(100, max_rows=100, at_limit="evict")
    table.lookup(keys_of(1000), train=True)
    assert table.keys().tolist() == [*range(10, 100), 1000]
    assert table.counters["evicted"] == 10


def test_many_new_keys_at_once_push_out_as_many_as_they_must() -> None:
    table = table_of(100, max_rows=100, at_limit="evict")
    table.lookup(np.arange(1000, 1060), train=True)
    assert table.keys().tolist() == [*range(60, 100), *range(1000, 1060)]


@settings(max_examples=50)
@given(st.data())
def test_whatever_fits_the_limit_comes_in(data: st.DataObject) -> None:
    limit = data.draw(st.integers(1, 12))
    table = Table(1, optimizer="sgd", max_rows=limit, at_limit="evict", threads=1)
    for _ in range(data.draw(st.integers(1, 6))):
        distinct = data.draw(st.lists(st.integers(0, 30), unique=True, max_size=limit))
        keys = np.array(data.draw(st.permutations(distinct * 2)), np.int64)
        table.lookup(keys, train=True)
        assert table.contains(keys).all()
        table.apply(keys, np.ones((len(keys), 1), np.float32), time=data.draw(st.integers(0, 3)) * SECOND)
        assert table.contains(keys).all()
        assert len(table) <= limit


def test_a_batch_of_more_keys_than_may_be_is_refused_and_nothing_is_evicted() -> None:
    table = table_of(10, max_rows=10, at_limit="evict")
    before = content(table)
    for keys in (np.arange(11), np.arange(20, 31), np.arange(5, 16)):
        with pytest.raises(TableFull, match="more than the table may hold: 10"):
            table.lookup(keys, train=True)
        assert content(table) == before


# -- eviction --------------------------------------------------------------------------------------


def test_each_bound_takes_what_falls_under_it() -> None:
    assert (table_of(10).evict(before=4 * SECOND), table_of(10).evict()) == (4, 0)
    table = table_of(10)
    table.lookup(keys_of(2, 5), train=True)
    assert table.evict(min_count=2) == 8
    assert table.keys().tolist() == [2, 5]
    table.write(keys_of(2, 5), np.array([[3, 4], [0, 0]], np.float32))
    assert table.evict(min_norm=5.0) == 1  # a norm of exactly 5 stays
    assert table.keys().tolist() == [2]


def test_eviction_to_a_number_of_rows_is_reproducible_whatever_the_shards() -> None:
    random = np.random.default_rng(0)
    steps = [(random.integers(0, 5000, 700), int(random.integers(0, 5))) for _ in range(8)]
    found = []
    for options in ({"shards": 1}, {"shards": 64, "threads": 1}, {"shards": 256, "threads": 3}):
        table = Table(1, optimizer="sgd", **options)
        for keys, time in steps:
            table.lookup(keys, train=True)
            table.apply(keys, np.ones((len(keys), 1), np.float32), time=time * SECOND)
        seen = {key: (time, count) for key, time, count in zip(*known(table), strict=True)}
        assert table.evict(max_rows=1500) == len(seen) - 1500
        found.append(table.keys().tolist())
        assert found[-1] == sorted(sorted(seen, key=lambda key: (*seen[key], key))[-1500:])
    assert found[0] == found[1] == found[2]


def known(table: Table) -> tuple[list[int], list[int], list[int]]:
    keys = table.keys()
    return keys.tolist(), table.times(keys).tolist(), table.counts(keys).tolist()


def test_times_far_apart_and_all_the_same_are_put_in_order() -> None:
    table = Table(1, optimizer="sgd", threads=1)
    last = (2**32 - 1) * SECOND
    for key, time in ((4, 0), (1, -SECOND), (5, last), (3, last), (2, 2 * last)):
        table.apply(keys_of(key), np.ones((1, 1), np.float32), time=time)
    assert table.times(keys_of(1, 2, 3)).tolist() == [0, last, last]
    table.apply(keys_of(6), np.ones((1, 1), np.float32), time=5 * SECOND)  # the table's clock does not go back
    assert table.times(keys_of(6)).tolist() == [last]
    assert table.evict(max_rows=2) == 4
    assert table.keys().tolist() == [5, 6]
    assert table.evict(max_rows=0) == 2
    assert len(table) == 0


def test_memory_of_evicted_rows_is_used_again() -> None:
    table = Table(16, optimizer="adagrad", threads=1)
    sizes = []
    for round_ in range(12):
        keys = np.arange(round_ * 50_000, (round_ + 1) * 50_000)
        table.lookup(keys, train=True)
        table.apply(keys, np.ones((50_000, 16), np.float32), time=round_ * SECOND)
        table.evict(before=round_ * SECOND)
        assert len(table) == 50_000
        # The keys that went are remembered for the next delta, up to a bound.
        sizes.append(table.bytes - 8 * table.counters["evicted"])
    assert sizes[-1] <= 1.05 * sizes[2]


# -- candidates --------------------------------------------------------------------------------------


def test_no_more_keys_wait_for_admission_than_there_may_be_rows() -> None:
    table = Table(2, optimizer="sgd", admit_count=3, max_rows=100, threads=1)
    for key in range(1000):
        table.lookup(keys_of(key), train=True)
        table.apply(keys_of(key), np.ones((1, 2), np.float32), time=key * SECOND)
        assert table.candidates <= 100
    # Those not seen for longest are forgotten: each key waits since the second before its own.
    waiting = table.counts(np.arange(1000))
    assert waiting[-90:].tolist() == [1] * 90
    assert not waiting[:-100].any()
    for _ in range(2):
        table.lookup(keys_of(999), train=True)
    assert table.contains(keys_of(999)).all()
