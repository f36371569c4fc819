"""Types as values of JSON suggest them; `null` stands for what only had nulls so far."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

__all__ = ["field_count", "settled", "widened"]


def settled(kind: Any) -> pa.DataType | None:
    """The type without what is not known of it; None where nothing is."""
    if pa.types.is_null(kind):
        return None
    if pa.types.is_list(kind):
        item = settled(kind.value_type)
        return None if item is None else pa.list_(item)
    if pa.types.is_struct(kind):
        fields = [(field.name, settled(field.type)) for field in kind]
        known = [(name, type_) for name, type_ in fields if type_ is not None]
        return pa.struct(known) if known else None
    return kind


def widened(kind: Any, other: Any) -> pa.DataType:
    """The type `kind`, and what `other` knows that it does not: more fields, and types where it has none."""
    if pa.types.is_null(kind):
        return other
    if pa.types.is_list(kind) and pa.types.is_list(other):
        return pa.list_(widened(kind.value_type, other.value_type))
    if pa.types.is_struct(kind) and pa.types.is_struct(other):
        fields = {field.name: field.type for field in kind}
        for field in other:
            fields[field.name] = widened(fields[field.name], field.type) if field.name in fields else field.type
        return pa.struct(list(fields.items()))
    return kind


def field_count(kind: Any) -> int:
    """How many fields there are in all, at any depth."""
    if pa.types.is_list(kind):
        return field_count(kind.value_type)
    return sum(1 + field_count(field.type) for field in kind) if pa.types.is_struct(kind) else 0
