"""The feature hashing of the host, native: the same ids, some times faster for strings."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from penrose_host.features import LONG, NULL_SEED, murmur
from penrose_tfplus import _native

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from penrose_tfplus._native import Int64

__all__ = ["hash_bytes", "hash_strings"]


def hash_strings(feature: str, column: pa.Array) -> Int64:
    """Ids of the values of a feature: a string or binary column, nulls too → int64 [n]. Raises TypeError for others."""
    import pyarrow as pa

    is_, kind = pa.types, column.type
    if is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind):
        large = column.cast(pa.large_string())
    elif is_.is_binary(kind) or is_.is_large_binary(kind) or is_.is_binary_view(kind) or is_.is_fixed_size_binary(kind):
        large = column.cast(pa.large_binary())
    else:
        raise TypeError(f"feature {feature!r}: the column must be string or binary, not {kind}")
    if not len(large):
        return np.empty(0, np.int64)
    _, offsets, data = large.buffers()
    bounds = np.frombuffer(offsets, np.int64, len(large) + 1, large.offset * 8)
    name = feature.encode()
    content = np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8)
    ids = hash_bytes(content, bounds, np.array([murmur(name, 0)], np.uint64))
    if large.null_count:
        ids[large.is_null().to_numpy(zero_copy_only=False)] = np.uint64(murmur(name, NULL_SEED)).view(np.int64)
    return ids


def hash_bytes(data: npt.NDArray[np.uint8], offsets: Int64, seeds: npt.NDArray[np.uint64]) -> Int64:
    """Ids of the values `data[offsets[i]:offsets[i + 1]]`; `seeds` has one element, or one for each value."""
    ids, long = _native.hash_bytes(data, offsets, seeds, LONG)
    for index in long.tolist():
        digest = hashlib.blake2b(data[offsets[index] : offsets[index + 1]].data, digest_size=32).digest()
        ids[index] = np.uint64(murmur(digest, int(seeds[index if len(seeds) > 1 else 0]))).view(np.int64)
    return ids
