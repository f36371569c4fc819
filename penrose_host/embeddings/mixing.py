"""How any int64 key is spread over a fixed number of rows: the same on every machine and release.

With all arithmetic modulo 2**64 and the key read as unsigned::

    h = key * 0x9E3779B97F4A7C15
    h = h ^ (h >> 32)
    h = h * 0xD6E8FEB86659FD93
    bucket = ((h >> 32) * rows) >> 32

which needs no division and spreads consecutive integers as evenly as hashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Int64

__all__ = ["MAX_ROWS", "MULTIPLIERS", "buckets"]

#: The most rows that keys can be spread over: `bucket` must fit 31 bits.
MAX_ROWS = 2**31
#: The two odd constants of the mixing, for those who repeat it in another framework.
MULTIPLIERS = (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)

# Arrays without dimensions: NumPy converts a Python integer again at every call, which costs as much as the work.
_FIRST, _SECOND = (np.array(value, dtype=np.uint64) for value in MULTIPLIERS)
_HALF = np.array(32, dtype=np.uint64)


def buckets(keys: Int64, rows: int) -> Int64:
    """The row of each key: int64 [n] → a new int64 [n] in 0 … rows - 1, for 1 ≤ rows ≤ `MAX_ROWS`."""
    hashed = keys.view(np.uint64) * _FIRST
    hashed ^= hashed >> _HALF
    hashed *= _SECOND
    hashed >>= _HALF
    hashed *= np.uint64(rows)
    hashed >>= _HALF
    return hashed.view(np.int64)
