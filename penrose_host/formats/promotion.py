"""Which types of a writer a column can take."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

__all__ = ["promotes"]


def promotes(have: Any, want: Any) -> bool:
    """Whether values of the type `have` are values of the type `want` too, all of them or (integers) those that fit."""
    types: Any = pa.types
    if have is None:
        return False
    if have == want or types.is_null(have):
        return True
    if types.is_integer(have):
        # Half a float holds so few integers that Arrow does not check which.
        return bool(types.is_integer(want) or (types.is_floating(want) and not types.is_float16(want)))
    if types.is_floating(have):
        return bool(types.is_floating(want) and want.bit_width >= have.bit_width)
    if types.is_string(have) or types.is_binary(have):
        return bool(types.is_string(want) or types.is_binary(want))
    if types.is_timestamp(have) and types.is_timestamp(want):
        return bool((have.tz is None) == (want.tz is None))
    if types.is_decimal(have) and types.is_decimal(want):
        return True
    if types.is_list(have) and types.is_list(want):
        return promotes(have.value_type, want.value_type)
    if types.is_struct(have) and types.is_struct(want):
        inner = {field.name: field.type for field in want}
        return all(promotes(field.type, inner[field.name]) for field in have if field.name in inner)
    return False
