"""Reading values of Avro's binary encoding.

A reader takes (data, position) and returns (value, next position). It raises ValueError, IndexError or struct.error
where the bytes are not what they should be, and never looks in front of `position`: lengths and indices are checked,
since Python would take negative ones for something else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from typing import Any

__all__ = [
    "Reader",
    "array_of",
    "boolean",
    "checked",
    "decimal_of",
    "double",
    "enum_of",
    "fixed_of",
    "float_",
    "long",
    "map_of",
    "null",
    "record_of",
    "string",
    "union_of",
    "variable",
]

Reader = Callable[[bytes, int], tuple[Any, int]]

_FLOAT, _DOUBLE = struct.Struct("<f"), struct.Struct("<d")


def null(_data: bytes, at: int) -> tuple[None, int]:
    return None, at


def boolean(data: bytes, at: int) -> tuple[bool, int]:
    if data[at] > 1:
        raise ValueError(f"{data[at]} is no boolean")
    return data[at] == 1, at + 1


def long(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    value = byte & 0x7F
    shift = 7
    while byte & 0x80:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70 or value >> 64:
            raise ValueError("a number has more than 64 bits")
    return (value >> 1) ^ -(value & 1), at


def float_(data: bytes, at: int) -> tuple[float, int]:
    return _FLOAT.unpack_from(data, at)[0], at + 4


def double(data: bytes, at: int) -> tuple[float, int]:
    return _DOUBLE.unpack_from(data, at)[0], at + 8


def variable(data: bytes, at: int) -> tuple[bytes, int]:
    """Bytes behind their length."""
    length, at = long(data, at)
    end = at + length
    if length < 0 or end > len(data):
        raise ValueError(f"{length} bytes are announced, and {len(data) - at} are there")
    return data[at:end], end


def string(data: bytes, at: int) -> tuple[str, int]:
    value, at = variable(data, at)
    return value.decode(), at


def fixed_of(size: int) -> Reader:
    def read(data: bytes, at: int) -> tuple[bytes, int]:
        if at + size > len(data):
            raise ValueError(f"{size} bytes are due, and {len(data) - at} are there")
        return data[at : at + size], at + size

    return read


def checked(reader: Reader, low: int, high: int) -> Reader:
    """An integer from `low` up to and without `high`."""

    def read(data: bytes, at: int) -> tuple[int, int]:
        value, at = reader(data, at)
        if not low <= value < high:
            raise ValueError(f"{value} is out of range")
        return value, at

    return read


def decimal_of(reader: Reader, precision: int, scale: int) -> Reader:
    context = Context(prec=precision)
    limit = 10**precision

    def read(data: bytes, at: int) -> tuple[Decimal, int]:
        value, at = reader(data, at)
        unscaled = int.from_bytes(value, "big", signed=True)
        if not -limit < unscaled < limit:
            raise ValueError(f"a decimal has more than {precision} digits")
        return Decimal(unscaled).scaleb(-scale, context), at

    return read


def enum_of(symbols: Sequence[str]) -> Reader:
    index = checked(long, 0, len(symbols))

    def read(data: bytes, at: int) -> tuple[str, int]:
        value, at = index(data, at)
        return symbols[value], at

    return read


def union_of(branches: Sequence[Reader]) -> Reader:
    index = checked(long, 0, len(branches))

    def read(data: bytes, at: int) -> tuple[Any, int]:
        byte = data[at]
        if byte & 1 == 0 and byte >> 1 < len(branches) and byte < 0x80:
            return branches[byte >> 1](data, at + 1)
        value, at = index(data, at)
        return branches[value](data, at)

    return read


def array_of(item: Reader) -> Reader:
    """`item` takes at least one byte: so no count can be larger than the message is long."""

    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        while True:
            count, at, end = _block(data, at)
            if not count:
                return items, at
            for _ in range(count):
                value, at = item(data, at)
                items.append(value)
            if end is not None and at != end:
                raise ValueError("a block is not as long as it says")

    return read


def map_of(item: Reader) -> Reader:
    """As (key, value) pairs."""

    def pair(data: bytes, at: int) -> tuple[tuple[str, Any], int]:
        key, at = string(data, at)
        value, at = item(data, at)
        return (key, value), at

    pairs = array_of(pair)

    def read(data: bytes, at: int) -> tuple[list[tuple[str, Any]], int]:
        found, at = pairs(data, at)
        if len(dict(found)) != len(found):
            raise ValueError("a key stands twice in a map")
        return found, at

    return read


def record_of(fields: Sequence[tuple[str, Reader]]) -> Reader:
    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        value = {}
        for name, reader in fields:
            value[name], at = reader(data, at)
        return value, at

    return read


def _block(data: bytes, at: int) -> tuple[int, int, int | None]:
    """How many items follow, where, and, if that is said, where they end."""
    count, at = long(data, at)
    if count >= 0:
        return count, at, None
    size, at = long(data, at)
    return -count, at, at + size
