from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from random_rows import as_bytes, random_rows

from penrose_host.core.rows import Rows


def one_by_one(rows: Rows) -> list[Any]:
    """Each row as plain Python values, bit for bit."""
    out = []
    for row in range(len(rows)):
        lists = {}
        for name, ragged in rows.lists.items():
            lists[name] = ragged.values[ragged.offsets[row] : ragged.offsets[row + 1]].tolist()
        floats = [
            {name: column[row].tobytes() for name, column in (columns or {}).items()}
            for columns in (rows.numeric, rows.labels, rows.scores)
        ]
        times = (rows.event_time[row].item(), rows.known_at[row].item())
        place = (rows.names[rows.partition[row]], rows.offset[row].item())
        out.append((place, times, rows.ids[row].tolist(), lists, floats))
    return out


def check_ragged(rows: Rows) -> None:
    for ragged in rows.lists.values():
        assert (ragged.offsets[0], ragged.offsets[-1]) == (0, len(ragged.values))


ROWS = st.builds(
    lambda seed, count: random_rows(
        np.random.default_rng(seed), count, names=["a", "b"], lists=["l", "m"], numeric=["x"]
    ),
    st.integers(0, 1 << 32),
    st.integers(0, 9),
)


@given(ROWS, st.slices(9))
def test_a_slice_holds_the_rows_of_the_slice(rows: Rows, index: slice) -> None:
    taken = rows.take(index)
    assert one_by_one(taken) == one_by_one(rows)[index]
    check_ragged(taken)
    if index.step in (None, 1) and len(taken):
        assert np.shares_memory(taken.offset, rows.offset)


@given(ROWS, st.data())
def test_an_index_takes_rows_in_its_order_and_repeatedly(rows: Rows, data: st.DataObject) -> None:
    index = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=12)) if len(rows) else []
    taken = rows.take(np.array(index, dtype=np.int64))
    assert one_by_one(taken) == [one_by_one(rows)[row] for row in index]
    check_ragged(taken)


@given(ROWS, st.lists(st.integers(0, 9), max_size=4))
def test_the_pieces_of_rows_are_the_rows(rows: Rows, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    pieces = [rows.take(slice(start, stop)) for start, stop in pairwise(bounds)]
    assert as_bytes(Rows.concat(pieces)) == as_bytes(rows)


def test_rows_of_growing_names_are_joined() -> None:
    rng = np.random.default_rng(0)
    first, second = random_rows(rng, 3, names=["a"]), random_rows(rng, 3, names=["a", "b"])
    for parts in ([first, second], [second, first]):
        joined = Rows.concat(parts)
        assert joined.names == ("a", "b")
        assert one_by_one(joined) == [row for part in parts for row in one_by_one(part)]
    with pytest.raises(ValueError, match="do not continue"):
        Rows.concat([second, random_rows(rng, 3, names=["b"])])


def test_a_row_has_a_label_where_any_head_has_one() -> None:
    rows = random_rows(np.random.default_rng(0), 3, heads=["y", "z"])
    nan = np.float32("nan")
    rows.labels["y"][:] = [nan, 1, nan]
    rows.labels["z"][:] = [nan, nan, 0]
    assert rows.has_label().tolist() == [False, True, True]
    assert random_rows(np.random.default_rng(0), 2, heads=[]).has_label().tolist() == [False, False]


def test_nbytes_counts_every_column() -> None:
    rows = random_rows(np.random.default_rng(0), 10, width=3, lists=["l"], numeric=["x"], heads=["y"])
    values = len(rows.lists["l"].values)
    assert rows.nbytes == 10 * (4 + 8 + 8 + 8 + 3 * 8 + 4 + 4 + 4) + 11 * 8 + values * 8


@given(ROWS, st.integers(0, 9), st.integers(0, 9))
def test_a_micro_batch_sees_its_rows(rows: Rows, start: int, stop: int) -> None:
    start, stop = min(start, len(rows)), min(max(start, stop), len(rows))
    micro = rows.batch().slice(start, stop)
    expected = rows.take(slice(start, stop))
    assert len(micro) == len(expected)
    assert np.array_equal(micro.ids, expected.ids)
    for name, ragged in expected.lists.items():
        seen = micro.lists[name]
        flat = seen.values[seen.offsets[0] : seen.offsets[-1]] if len(micro) else seen.values[:0]
        assert np.array_equal(flat, ragged.values)
        assert np.array_equal(seen.offsets - seen.offsets[0], ragged.offsets)
