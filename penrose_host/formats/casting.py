"""Columns made columns of another type, where no value becomes another one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penrose_host.formats.promotion import promotes

__all__ = ["cast_exactly", "cast_text", "other_texts", "type_for_both", "way_on"]


def cast_exactly(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column as `kind`, every value the same. Raises ArrowException where one would not be, or where the types mean
    other things (a number is no truth value)."""
    plain = _plain(array)
    have: Any = plain.type
    whole = pa.types.is_floating(have) and pa.types.is_integer(kind)  # 3.0 is 3, and Arrow refuses 3.5
    if not (whole or promotes(have, kind)):
        raise pa.ArrowTypeError(f"{have} is not {kind}")
    return plain.cast(kind)


def _plain(array: Any) -> pa.Array:
    """Without dictionary, extension, view and large offsets, which change no value."""
    kind = array.type
    if isinstance(kind, pa.ExtensionType):
        return _plain(array.storage)
    if pa.types.is_dictionary(kind):
        return _plain(array.dictionary_decode())
    plain = _plain_type(kind)
    return array if plain == kind else array.cast(plain)


def _plain_type(kind: Any) -> pa.DataType:
    types = pa.types
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind) or types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    return kind


def type_for_both(one: pa.DataType, other: pa.DataType) -> str:
    """The name of a type that values of both can be read as; text, where nothing narrower is."""

    def number(kind: Any) -> bool:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))

    if number(one) and number(other):
        return "float64"
    kinds: tuple[Any, Any] = (one, other)
    if any(map(pa.types.is_boolean, kinds)) and any(map(pa.types.is_integer, kinds)):
        return "int64"
    return "string"


def way_on(name: str, kind: pa.DataType) -> str:
    """What to type where the first rows suggested a type that others do not have."""
    if pa.types.is_integer(kind):
        return f", as the first rows suggested; to read it set `column_types: {{{name}: float64}}`, or string"
    return f", as the first rows suggested; to read it set `column_types: {{{name}: string}}`"


def other_texts(text: pa.StringArray, values: pa.Array) -> list[int]:
    """Rows whose text is not what its value prints: `01` is no 1, and `1` is not true. Blanks around do not count.

    text: as it was cast; values: what came of it, null where there is none. Of other types than integers and truth
    values any text is right.
    """
    if pa.types.is_boolean(values.type):
        wrong = pc.is_in(pc.utf8_trim(text, " \t"), value_set=pa.array(["0", "1"]))
    elif not pa.types.is_integer(values.type):
        return []
    else:
        printed = values.cast(pa.string())
        if printed.equals(text):
            return []
        wrong = pc.not_equal(printed, pc.utf8_trim(text, " \t"))
    wrong = pc.and_(pc.fill_null(wrong, False), pc.is_valid(values))
    return [int(row) for row in np.flatnonzero(wrong.to_numpy(zero_copy_only=False))]


def cast_text(text: pa.StringArray, kind: pa.DataType, null_values: pa.Array) -> tuple[pa.Array, list[int]]:
    """The column as `kind`, and the rows whose text is no such value, ascending (there the column is null).

    Blanks around a value do not count; what is in `null_values` is null.
    """
    nulls = pc.is_in(text, value_set=null_values)
    if nulls.true_count:
        text = pc.if_else(nulls, None, text)
    try:
        return text.cast(kind), []
    except pa.ArrowInvalid:
        text = pc.utf8_trim(text, " \t")
    bad: list[int] = []
    parts: list[pa.Array] = []

    def attempt(start: int, count: int) -> None:
        try:
            parts.append(text.slice(start, count).cast(kind))
        except pa.ArrowInvalid:
            if count == 1:
                bad.append(start)
                parts.append(pa.nulls(1, kind))
                return
            attempt(start, count // 2)
            attempt(start + count // 2, count - count // 2)

    attempt(0, len(text))
    return pa.concat_arrays(parts), bad
