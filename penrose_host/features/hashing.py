"""Stable 64-bit ids of (feature, value): the definition, and its vectorised form over NumPy arrays.

The ids are part of every checkpoint and every exported model. They depend on nothing but the bytes below, and
this definition never changes:

* `murmur(bytes, seed)` is MurmurHash64A (Austin Appleby, public domain), reading little-endian words.
* The seed of a feature is `murmur(name in UTF-8, 0)`.
* The id of a value is `murmur(value bytes, seed of the feature)`. Value bytes are: a string's UTF-8; binary as it is;
  an integer, a boolean, or a date (days since 1970) as int64, little endian.
* Value bytes longer than 256 are first replaced by their 32-byte BLAKE2b digest.
* The id of null is `murmur(name in UTF-8, 0x6E756C6C)`.
* The id of a cross is `murmur(the ids of its members, 8 bytes each, little endian; the seed of the cross's name)`.
* Ids are handed out as int64: the same 64 bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from penrose_host.contracts.batch import Int64

    UInt8 = npt.NDArray[np.uint8]
    UInt64 = npt.NDArray[np.uint64]

__all__ = ["LONG", "NULL_SEED", "hash_bytes", "hash_words", "murmur"]

#: Values of more bytes than this are hashed by their BLAKE2b digest.
LONG = 256
#: The seed that makes a feature's name the id of its null ("null" in ASCII).
NULL_SEED = 0x6E756C6C

_M = 0xC6A4A7935BD1E995
_R = 47
_WRAP = (1 << 64) - 1
_BLOCK = 4096  # values hashed at once: few enough for all intermediate arrays to stay in the cache

_M64 = np.uint64(_M)
_R64 = np.uint64(_R)
_MASKS = np.array([(1 << (8 * count)) - 1 for count in range(8)], dtype=np.uint64)


def murmur(data: bytes, seed: int) -> int:
    """MurmurHash64A of a few bytes, as an unsigned integer: for names. Columns take `hash_bytes`."""
    value = (seed ^ (len(data) * _M)) & _WRAP
    whole = len(data) - len(data) % 8
    for start in range(0, whole, 8):
        word = int.from_bytes(data[start : start + 8], "little") * _M & _WRAP
        word = (word ^ word >> _R) * _M & _WRAP
        value = (value ^ word) * _M & _WRAP
    if whole < len(data):
        value = (value ^ int.from_bytes(data[whole:], "little")) * _M & _WRAP
    value = (value ^ value >> _R) * _M & _WRAP
    return value ^ value >> _R


def hash_words(words: Sequence[UInt64], seeds: UInt64) -> Int64:
    """Ids of values of `len(words)` words each: the i-th words of all values are `words[i]`, uint64 [rows, columns].

    `seeds` is uint64 [columns].
    """
    start_value = seeds ^ np.uint64(len(words) * 8 * _M & _WRAP)
    ids = np.empty(words[0].shape, dtype=np.int64)
    step = max(1, _BLOCK // max(1, len(seeds)))
    for start in range(0, len(ids), step):
        value = start_value
        for word in words:
            value = (value ^ _mixed(word[start : start + step])) * _M64
        ids[start : start + step] = _finished(value).view(np.int64)
    return ids


def hash_bytes(data: UInt8, offsets: npt.NDArray[np.int32] | Int64, seeds: UInt64) -> Int64:
    """Ids of the values `data[offsets[i]:offsets[i + 1]]`.

    `seeds` (uint64) has one element, or one for each value. Memory: a copy of the bytes of 4096 values at a time.
    """
    count = len(offsets) - 1
    if count <= _BLOCK:
        return _hash_block(data, offsets, seeds)
    ids = np.empty(count, dtype=np.int64)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        block_seeds = seeds if len(seeds) == 1 else seeds[start:stop]
        ids[start:stop] = _hash_block(data, offsets[start : stop + 1], block_seeds)
    return ids


def _hash_block(data: UInt8, offsets: npt.NDArray[np.int32] | Int64, seeds: UInt64) -> Int64:
    first = int(offsets[0])
    bounds = offsets.astype(np.int64) - first
    starts, lengths = bounds[:-1], np.diff(bounds)
    longest = int(lengths.max(initial=0))
    block = data[first : first + int(bounds[-1])]
    if longest > LONG:
        block, starts, lengths = _with_digests(block, starts, lengths)
        longest = LONG
    # Two words of padding: `_load` reads the word that a value ends in, and the one after it.
    words = np.zeros(len(block) // 8 + 3, dtype="<u8")
    words.view(np.uint8)[: len(block)] = block

    value = seeds ^ lengths.view(np.uint64) * _M64
    whole = lengths >> 3
    for index in range(longest >> 3):
        rows = np.flatnonzero(whole > index)
        if len(rows) == len(value):
            value = (value ^ _mixed(_load(words, starts + 8 * index))) * _M64
        else:
            value[rows] = (value[rows] ^ _mixed(_load(words, starts[rows] + 8 * index))) * _M64
    rest = lengths & 7
    tail = _load(words, starts + 8 * whole) & _MASKS[rest]
    value = np.where(rest > 0, (value ^ tail) * _M64, value)
    return _finished(value).view(np.int64)


def _with_digests(block: UInt8, starts: Int64, lengths: Int64) -> tuple[UInt8, Int64, Int64]:
    """The same values, each one that is too long replaced by its digest, which stands at the end of the new block."""
    long = np.flatnonzero(lengths > LONG)
    digests = b"".join(
        hashlib.blake2b(block[start : start + length].data, digest_size=32).digest()
        for start, length in zip(starts[long].tolist(), lengths[long].tolist(), strict=True)
    )
    short = np.flatnonzero(lengths <= LONG)
    kept = lengths[short]
    new_starts, new_lengths = np.empty_like(starts), lengths.copy()
    new_starts[short] = np.cumsum(kept) - kept
    total = int(kept.sum())
    new_starts[long] = total + 32 * np.arange(len(long))
    new_lengths[long] = 32
    # Where each kept byte stands in the old block: the start of its value, plus its place in it.
    source = np.arange(total) + np.repeat(starts[short] - new_starts[short], kept)
    return np.concatenate([block[source], np.frombuffer(digests, dtype=np.uint8)]), new_starts, new_lengths


def _load(words: UInt64, starts: Int64) -> UInt64:
    """The 8 bytes at each byte position, from the two aligned words that they lie in."""
    index = starts >> 3
    shift = (starts.view(np.uint64) & np.uint64(7)) << np.uint64(3)
    loaded: UInt64 = words[index] >> shift
    # A shift by 64 gives 0, which is what an aligned position needs.
    loaded |= words[index + 1] << (np.uint64(64) - shift)
    return loaded


def _mixed(word: UInt64) -> UInt64:
    word = word * _M64
    word ^= word >> _R64
    word *= _M64
    return word


def _finished(value: UInt64) -> UInt64:
    value ^= value >> _R64
    value *= _M64
    value ^= value >> _R64
    return value
