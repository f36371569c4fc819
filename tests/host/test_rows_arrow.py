from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st
from random_rows import as_bytes, random_rows

from penrose_host.core.rows_ipc import from_ipc, to_ipc

NAMES = st.lists(st.text(max_size=4), unique=True, max_size=3)


@given(st.integers(0, 1 << 32), st.integers(0, 7), NAMES, st.integers(0, 3), NAMES, NAMES, NAMES, st.booleans())
def test_rows_come_back_bit_for_bit(
    seed: int,
    count: int,
    names: list[str],
    width: int,
    lists: list[str],
    numeric: list[str],
    heads: list[str],
    scored: bool,
) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, count, names=names, width=width, lists=lists, numeric=numeric, heads=heads, scored=scored)
    assert as_bytes(from_ipc(to_ipc(rows))) == as_bytes(rows)


@given(st.integers(0, 1 << 32), st.integers(0, 7), st.integers(0, 7))
def test_a_slice_of_rows_comes_back_as_the_slice(seed: int, start: int, stop: int) -> None:
    rows = random_rows(np.random.default_rng(seed), 7, lists=["l"], numeric=["x"]).take(slice(start, stop))
    assert as_bytes(from_ipc(to_ipc(rows))) == as_bytes(rows)


def test_reading_does_not_copy() -> None:
    rows = from_ipc(data := to_ipc(random_rows(np.random.default_rng(0), 5, lists=["l"])))
    whole = np.frombuffer(data, dtype=np.uint8)
    assert all(np.shares_memory(column, whole) for column in (rows.offset, rows.ids, rows.lists["l"].values))


def test_equal_rows_are_equal_bytes() -> None:
    first, second = (to_ipc(random_rows(np.random.default_rng(3), 9, lists=["l"], numeric=["x"])) for _ in range(2))
    assert first == second


def test_other_arrow_bytes_are_refused() -> None:
    batch = pa.record_batch({"a": [1]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(ValueError, match="not rows"):
        from_ipc(sink.getvalue().to_pybytes())
    with pytest.raises(pa.ArrowInvalid):
        from_ipc(b"nothing of the kind")
