"""A schema as text, and back."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["decoded", "encoded"]


def encoded(schema: pa.Schema) -> str:
    """Arrow IPC in base64; without metadata, which has no say in what is read."""
    plain = schema.remove_metadata()
    return base64.b64encode(plain.serialize().to_pybytes()).decode()


def decoded(text: str) -> pa.Schema:
    """The schema that `encoded` wrote. Raises ValueError."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text, validate=True)))
