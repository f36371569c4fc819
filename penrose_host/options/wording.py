"""pydantic's words for what is wrong with a value, in those of a person who writes a job."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["plain"]

_WHOLE, _NUMBER, _TRUTH = "should be a whole number", "should be a number", "should be true or false"
_TEXT, _LIST, _MAPPING = "should be text", "should be a list, as in [a, b]", "should be a mapping, as in {key: value}"

#: Kind of error → what to say instead; a function gets the error's context.
_PLAIN: dict[str, str | Callable[[Mapping[str, Any]], str]] = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _WHOLE),
    **dict.fromkeys(("float_type", "float_parsing", "decimal_type", "decimal_parsing"), _NUMBER),
    **dict.fromkeys(("bool_type", "bool_parsing"), _TRUTH),
    **dict.fromkeys(("string_type", "string_sub_type"), _TEXT),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type"), _LIST),
    **dict.fromkeys(
        ("dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type", "is_instance_of"),
        _MAPPING,
    ),
    "string_unicode": "is not UTF-8 text (the locale may be another: set LC_ALL=C.UTF-8)",
    "none_required": "should be null",
    "finite_number": "should be finite",
    "path_type": "should be a path",
    "string_too_short": lambda context: _length("character", "at least", context["min_length"]),
    "string_too_long": lambda context: _length("character", "at most", context["max_length"]),
    "string_pattern_mismatch": lambda context: f"should look like {context['pattern']}",
    "too_short": lambda context: _length("entry", "at least", context["min_length"]),
    "too_long": lambda context: _length("entry", "at most", context["max_length"]),
    "greater_than_equal": lambda context: f"should be at least {context['ge']}",
    "less_than_equal": lambda context: f"should be at most {context['le']}",
}


def plain(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """What to say of an error of pydantic's `kind`: without its types, classes and validation."""
    said = _PLAIN.get(kind)
    if isinstance(said, str):
        return said
    if said is not None:
        return said(context)
    return re.sub(r"^(Value error, |Assertion failed, |Input )", "", message)


def _length(what: str, bound: str, count: int) -> str:
    if count == 1 and bound == "at least":
        return "should not be empty"
    return f"should have {bound} {count} {what if count == 1 else {'entry': 'entries'}.get(what, what + 's')}"
