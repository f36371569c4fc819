"""The safetensors format: named arrays and string metadata in one file, nothing executable.

Written here piece by piece, straight from the arrays' own memory, so that writing a table does not
take its size in memory a second time. Any safetensors library reads these files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from penrose_host.contracts.snapshots import Buffer

__all__ = ["decode", "encode"]

Array = npt.NDArray[Any]

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "U32": np.dtype("<u4"),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}


def encode(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> Iterator[Buffer]:
    """The file, in pieces that share the arrays' memory (C-contiguous float32, int32, uint32 or int64)."""
    yield _header(tensors, metadata)
    for array in tensors.values():
        yield array.reshape(-1).view(np.uint8).data


def decode(data: bytes) -> tuple[dict[str, Array], dict[str, str]]:
    """Arrays (read-only, sharing `data`) and metadata. Raises ValueError, saying what is wrong."""
    if len(data) < 8:
        raise ValueError(f"{len(data)} bytes are too few for a safetensors file")
    start = 8 + int.from_bytes(data[:8], "little")
    if start > len(data):
        raise ValueError("the header is cut off")
    header = json.loads(data[8:start])
    if not isinstance(header, dict):
        raise ValueError("the header is not a mapping")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("the metadata is not a mapping of strings")
    tensors, end = {}, start
    for name, entry in header.items():
        tensors[name], end = _tensor(name, entry, data, start, end)
    if end != len(data):
        raise ValueError(f"the arrays end at byte {end} of {len(data)}")
    return tensors, metadata


def _header(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in tensors.items():
        begin, end = end, end + array.nbytes
        entries[name] = {"dtype": _CODES[array.dtype], "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _tensor(name: str, entry: Any, data: bytes, start: int, expected: int) -> tuple[Array, int]:
    """One array and where it ends; arrays follow each other without gaps."""
    try:
        dtype = _DTYPES[entry["dtype"]]
        shape = tuple(int(size) for size in entry["shape"])
        begin, end = (start + int(offset) for offset in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the entry of {name!r} cannot be read: {error!r}") from None
    if begin != expected or min(shape, default=0) < 0 or end != begin + math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name!r} does not lie where its shape says")
    if end > len(data):
        raise ValueError(f"{name!r} is cut off")
    return np.frombuffer(data, dtype, math.prod(shape), begin).reshape(shape), end
