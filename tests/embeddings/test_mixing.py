from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from penrose_host.embeddings.mixing import MAX_ROWS, buckets

INT64 = st.integers(-(2**63), 2**63 - 1)


def written_out(key: int, rows: int) -> int:
    """The formula of the module's docstring, in Python's integers."""
    h = key * 0x9E3779B97F4A7C15 % 2**64
    h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93 % 2**64
    return ((h >> 32) * rows) >> 32


@given(st.lists(INT64, max_size=20), st.integers(1, MAX_ROWS))
def test_the_bucket_is_what_the_documentation_says(keys: list[int], rows: int) -> None:
    found = buckets(np.array(keys, dtype=np.int64), rows)
    assert found.dtype == np.int64
    assert found.tolist() == [written_out(key, rows) for key in keys]


def test_buckets_never_change_between_releases() -> None:
    keys = np.array([0, 1, -1, 2**63 - 1, -(2**63)], dtype=np.int64)
    assert buckets(keys, 2**20).tolist() == [0, 98232, 129457, 444129, 733903]
    assert buckets(keys, 1000).tolist() == [0, 93, 123, 423, 699]


@pytest.mark.parametrize("rows", [1000, 1024])
@pytest.mark.parametrize(
    "keys",
    [
        np.arange(100_000),
        np.arange(100_000) * 1000,
        np.arange(100_000) << 40,
        -np.arange(100_000) * 7919,
        np.random.default_rng(1).integers(-(2**63), 2**63 - 1, 100_000),
    ],
    ids=["consecutive", "thousands", "high bits", "negative", "hashes"],
)
def test_keys_spread_evenly(keys: np.ndarray, rows: int) -> None:
    counts = np.bincount(buckets(keys, rows), minlength=rows)
    expected = len(keys) / rows
    chi_square = ((counts - expected) ** 2 / expected).sum()
    # Six standard deviations above what independent keys give.
    assert chi_square < rows + 6 * np.sqrt(2 * rows)


def test_a_column_of_a_matrix_works_like_a_copy_of_it() -> None:
    ids = np.arange(12, dtype=np.int64).reshape(4, 3)
    assert buckets(ids[:, 1], 50).tolist() == buckets(ids[:, 1].copy(), 50).tolist()
    assert ids.tolist() == np.arange(12).reshape(4, 3).tolist()
