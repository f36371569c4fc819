"""Ids of Arrow columns, as `hashing` defines them: no Python per row, no copy of a column's bytes at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from penrose_host.features.hashing import NULL_SEED, hash_bytes, hash_words, murmur

if TYPE_CHECKING:
    import numpy.typing as npt

    from penrose_host.contracts.batch import Int64

    Bool = npt.NDArray[np.bool_]

__all__ = ["ACCEPTED", "FeatureHash", "can_have_ids", "ids_of", "ids_of_columns", "integers_of", "null_mask"]

#: What `can_have_ids` takes, in words.
ACCEPTED = "text, integer, boolean, date or binary (or a dictionary of these)"

_INTEGERS = {
    pa.lib.Type_INT8: np.int8,
    pa.lib.Type_INT16: np.int16,
    pa.lib.Type_INT32: np.int32,
    pa.lib.Type_INT64: np.int64,
    pa.lib.Type_UINT8: np.uint8,
    pa.lib.Type_UINT16: np.uint16,
    pa.lib.Type_UINT32: np.uint32,
    pa.lib.Type_UINT64: np.uint64,
    pa.lib.Type_DATE32: np.int32,
    pa.lib.Type_DATE64: np.int64,
}
_OFFSETS: dict[int, np.dtype[Any]] = {
    pa.lib.Type_STRING: np.dtype(np.int32),
    pa.lib.Type_BINARY: np.dtype(np.int32),
    pa.lib.Type_LARGE_STRING: np.dtype(np.int64),
    pa.lib.Type_LARGE_BINARY: np.dtype(np.int64),
}
_VIEWS = {pa.lib.Type_STRING_VIEW: pa.large_string(), pa.lib.Type_BINARY_VIEW: pa.large_binary()}
_OTHERS = {pa.lib.Type_BOOL, pa.lib.Type_NA, pa.lib.Type_FIXED_SIZE_BINARY}
_DAY = 86_400_000  # milliseconds, the unit of date64

# Columns of few rows are hashed together: a call costs more than their values.
_FEW_ROWS, _FEW_BYTES = 512, 1 << 16


@dataclass(frozen=True, slots=True)
class FeatureHash:
    """The seed of a feature's values, and the id of its null; both uint64 [1]."""

    seed: npt.NDArray[np.uint64]
    null: Int64

    @classmethod
    def of(cls, name: str) -> FeatureHash:
        """The hash of the feature of this name."""
        text = name.encode()
        seed = np.array([murmur(text, 0)], dtype=np.uint64)
        return cls(seed, np.array([murmur(text, NULL_SEED)], dtype=np.uint64).view(np.int64))


def can_have_ids(type_: pa.DataType) -> bool:
    """Whether `ids_of` takes columns of this type."""
    if isinstance(type_, pa.BaseExtensionType):
        return can_have_ids(type_.storage_type)
    if type_.id == pa.lib.Type_DICTIONARY:
        return can_have_ids(type_.value_type)
    return type_.id in _INTEGERS or type_.id in _OFFSETS or type_.id in _VIEWS or type_.id in _OTHERS


def ids_of_columns(columns: Sequence[pa.Array], hashes: Sequence[FeatureHash], rows: int) -> Int64:
    """Ids of columns of `rows` rows each: int64 [rows, columns]. The same as `ids_of` column by column, but faster."""
    ids = np.empty((rows, len(columns)), dtype=np.int64)
    if rows <= _FEW_ROWS:
        columns = [_plain(column) for column in columns]
    groups: dict[str, list[int]] = {"words": [], "text": [], "alone": []}
    for index, column in enumerate(columns):
        groups[_group(column, rows)].append(index)
    for group, indices in groups.items():
        if not indices:
            continue
        seeds = np.concatenate([hashes[index].seed for index in indices])
        if group == "words":
            words = np.stack([integers_of(columns[index]) for index in indices], axis=1).view(np.uint64)
            ids[:, indices] = hash_words([words], seeds)
        elif group == "text":
            joined = pa.concat_arrays([columns[index] for index in indices])
            ids[:, indices] = _ids_of_bytes(joined, np.repeat(seeds, rows)).reshape(-1, rows).T
        else:
            for index in indices:
                ids[:, index] = ids_of(columns[index], hashes[index])
        for index in indices:
            if columns[index].null_count and group != "alone":
                ids[null_mask(columns[index]), index] = hashes[index].null
    return ids


def _group(column: pa.Array, rows: int) -> str:
    kind = column.type.id
    if kind in _INTEGERS or kind == pa.lib.Type_BOOL:
        return "words"
    few = kind == pa.lib.Type_STRING and 0 < rows <= _FEW_ROWS and column.nbytes <= _FEW_BYTES
    return "text" if few else "alone"


def _plain(column: pa.Array) -> pa.Array:
    """A column of few rows: plain text, where it is a small dictionary of text."""
    small = column.type.id == pa.lib.Type_DICTIONARY and column.dictionary.nbytes <= _FEW_BYTES
    return column.dictionary_decode() if small else column


def ids_of(column: pa.Array, hash_: FeatureHash) -> Int64:
    """Ids of one column: int64 [rows]. Raises TypeError for a type that `can_have_ids` refuses."""
    kind = column.type.id
    if isinstance(column.type, pa.BaseExtensionType):
        return ids_of(column.storage, hash_)
    if kind == pa.lib.Type_DICTIONARY:
        return _ids_of_dictionary(column, hash_)
    if kind in _VIEWS:
        return ids_of(column.cast(_VIEWS[kind]), hash_)
    if kind in _OFFSETS:
        ids = _ids_of_bytes(column, hash_.seed)
    elif kind == pa.lib.Type_FIXED_SIZE_BINARY:
        width, start = column.type.byte_width, column.offset
        offsets = np.arange(start, start + len(column) + 1, dtype=np.int64) * width
        ids = hash_bytes(_bytes(column.buffers()[1]), offsets, hash_.seed)
    elif kind == pa.lib.Type_NA:
        return np.repeat(hash_.null, len(column))
    else:
        ids = hash_words([integers_of(column).view(np.uint64)[:, np.newaxis]], hash_.seed)[:, 0]
    if column.null_count:
        ids[null_mask(column)] = hash_.null
    return ids


def null_mask(column: pa.Array) -> Bool:
    """True where the column is null."""
    return cast("Bool", column.is_null().to_numpy(zero_copy_only=False))


def _ids_of_bytes(column: pa.Array, seeds: npt.NDArray[np.uint64]) -> Int64:
    _, bounds, data = column.buffers()
    if len(column) == 0 or bounds is None:
        return np.empty(0, dtype=np.int64)
    width = _OFFSETS[column.type.id]
    offsets = np.frombuffer(bounds, dtype=width, count=len(column) + 1, offset=column.offset * width.itemsize)
    return hash_bytes(_bytes(data), offsets, seeds)


def _bytes(buffer: pa.Buffer | None) -> npt.NDArray[np.uint8]:
    # A column of empty values has no data buffer, or one of no bytes.
    return np.empty(0, dtype=np.uint8) if buffer is None or not buffer.size else np.frombuffer(buffer, dtype=np.uint8)


def integers_of(column: pa.Array) -> Int64:
    """The values as int64; what stands under a null is arbitrary. uint64 keeps its 64 bits."""
    kind = column.type.id
    if kind == pa.lib.Type_BOOL:
        filled = column.fill_null(False) if column.null_count else column
        return cast("Int64", filled.to_numpy(zero_copy_only=False).astype(np.int64))
    if kind not in _INTEGERS:
        raise TypeError(f"a column of {column.type} has no ids: they are for {ACCEPTED}")
    data = column.buffers()[1]
    if len(column) == 0 or data is None:
        return np.empty(0, dtype=np.int64)
    width = np.dtype(_INTEGERS[kind])
    values = np.frombuffer(data, dtype=width, count=len(column), offset=column.offset * width.itemsize)
    whole: Int64 = values.astype(np.int64, copy=False)
    return whole // _DAY if kind == pa.lib.Type_DATE64 else whole


def _ids_of_dictionary(column: pa.DictionaryArray, hash_: FeatureHash) -> Int64:
    """Hashes each value of the dictionary once, or, of a long one, those that occur."""
    indices = column.indices
    chosen = (indices.fill_null(0) if indices.null_count else indices).to_numpy()
    values = column.dictionary
    if len(values) > len(chosen):
        used, chosen = np.unique(chosen, return_inverse=True)
        values = values.take(pa.array(used))
    if len(values) == 0:
        return np.repeat(hash_.null, len(chosen))
    ids: Int64 = ids_of(values, hash_)[chosen]
    if indices.null_count:
        ids[null_mask(indices)] = hash_.null
    return ids
