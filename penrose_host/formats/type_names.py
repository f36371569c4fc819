"""Names of column types in options, such as `int64`, `timestamp[us, UTC]`, `list<string>`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["check_type_name", "parse_type"]

_INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
_PLAIN = ["bool", *_INTEGERS, "float32", "float64", "string", "binary"]
_OTHER_NAMES = {"float": "float32", "double": "float64", "text": "string", "timestamp": "timestamp[us]"}
_TIMESTAMP = re.compile(r"timestamp\[\s*(s|ms|us|ns)\s*(?:,\s*([^\s,\]]+)\s*)?\]")
_LIST = re.compile(r"list<(.+)>")


def check_type_name(name: str) -> None:
    """Raises ValueError where this is not the name of a type."""
    name = _OTHER_NAMES.get(name, name)
    if name in _PLAIN or _TIMESTAMP.fullmatch(name):
        return
    if match := _LIST.fullmatch(name):
        check_type_name(match[1].strip())
        return
    raise ValueError(f"{name!r} is no type: use {', '.join(_PLAIN)}, timestamp[us], timestamp[us, UTC] or list<…>")


def parse_type(name: str) -> pa.DataType:
    """The type of this name. Raises ValueError where there is none."""
    import pyarrow as pa

    check_type_name(name)
    name = _OTHER_NAMES.get(name, name)
    if match := _TIMESTAMP.fullmatch(name):
        return pa.timestamp(match[1], match[2])
    if match := _LIST.fullmatch(name):
        return pa.list_(parse_type(match[1].strip()))
    return pa.type_for_alias(name)
