"""Messages that a parser is certain to refuse, found one by one: where many are bad, much sooner than by halving.

Says less than the parser: objects and lists are not looked into, nor is text that is to be a timestamp.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa

__all__ = ["misfits"]


def misfits(schema: pa.Schema) -> Callable[[bytes], str | None]:
    """What tells the fault of a message: it is no JSON, or a value of a column is of another kind."""
    checks = {field.name: (field.type, *_python_types(field.type)) for field in schema}

    def fault(message: bytes) -> str | None:
        try:
            value = json.loads(message.decode())
        except json.JSONDecodeError as error:
            return f"it is not a JSON object: {error}"
        except (ValueError, RecursionError):
            return None  # Python reads no integers of many thousand digits, and no deep nesting
        for name, cell in value.items():
            if cell is None or name not in checks:
                continue
            kind, python, span = checks[name]
            if type(cell) not in python or (span and not span[0] <= cell <= span[1]):
                shown = "a list" if type(cell) is list else "an object" if type(cell) is dict else json.dumps(cell)[:80]
                return f"column {name!r}: {shown} is not {kind}"
        return None

    return fault


def _python_types(kind: Any) -> tuple[tuple[type, ...], tuple[int, int] | None]:
    """The types that a value may have in Python, and between which numbers it has to be."""
    if pa.types.is_integer(kind):
        bits = kind.bit_width
        signed = pa.types.is_signed_integer(kind)
        return (int,), ((-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1))
    if pa.types.is_floating(kind):
        return (int, float), None
    if pa.types.is_boolean(kind):
        return (bool,), None
    if pa.types.is_list(kind):
        return (list,), None
    return ((dict,) if pa.types.is_struct(kind) else (str,)), None
