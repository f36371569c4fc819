"""From a writer's Avro schema to readers and Arrow types."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from penrose_host.decoding.avro import values
from penrose_host.decoding.avro.values import Reader

__all__ = ["Compiled", "WriterField", "compile_schema"]

#: Types within a schema, each as often as it is used: reading a value takes no more steps without taking bytes.
_MOST_TYPES = 10_000
_DEEPEST = 64
_DAY = 86_400_000
_TIMESTAMPS = {
    "timestamp-millis": ("ms", "UTC"),
    "timestamp-micros": ("us", "UTC"),
    "timestamp-nanos": ("ns", "UTC"),
    "local-timestamp-millis": ("ms", None),
    "local-timestamp-micros": ("us", None),
    "local-timestamp-nanos": ("ns", None),
}
_INT = values.checked(values.long, -(2**31), 2**31)


@dataclass(frozen=True, slots=True)
class Compiled:
    """How values of one Avro type are read; `kind` is None where no column can hold them.

    `empty`: a value may take no bytes. `types`: how many types it is made of.
    """

    read: Reader
    kind: Any
    empty: bool = False
    types: int = 1


@dataclass(frozen=True, slots=True)
class WriterField:
    """A field of the records that a writer writes; `kind` is None where no column can hold it."""

    name: str
    read: Reader
    kind: Any


def compile_schema(text: str) -> list[WriterField]:
    """The fields of a record, in the order they are written. Raises ValueError where this is no schema to read with."""
    import fastavro.schema

    try:
        names: dict[str, Any] = {}
        schema: Any = fastavro.schema.parse_schema(json.loads(text), named_schemas=names)
        compiler = _Compiler(names)
        if not isinstance(schema, dict) or schema.get("type") not in ("record", "error"):
            raise ValueError("it is no record")
        compiler.compile(schema, 0)
        return [
            WriterField(field["name"], done.read, done.kind)
            for field in schema["fields"]
            for done in [compiler.compile(field["type"], 1)]
        ]
    except Exception as error:  # of a JSON or schema parser that meets any text
        raise ValueError(
            f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error)
        ) from None


class _Compiler:
    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self._done: dict[str, Compiled] = {}
        self._open: set[str] = set()

    def compile(self, schema: Any, depth: int) -> Compiled:
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
        if isinstance(schema, list):
            made = self._union(schema, depth)
        elif isinstance(schema, str):
            made = _PRIMITIVES[schema] if schema in _PRIMITIVES else self._named(schema, self._names[schema], depth)
        elif isinstance(schema["type"], (dict, list)):
            made = self.compile(schema["type"], depth + 1)
        elif "name" in schema:
            made = self._named(schema["name"], schema, depth)
        elif schema["type"] in ("array", "map"):
            made = self._repeated(schema, depth)
        else:
            made = _logical(schema, self.compile(schema["type"], depth + 1))
        if made.types > _MOST_TYPES:
            raise ValueError(f"it has more than {_MOST_TYPES} types")
        return made

    def _named(self, name: str, schema: Any, depth: int) -> Compiled:
        if name in self._done:
            return self._done[name]
        if name in self._open:
            raise ValueError(f"the type {name} contains itself")
        self._open.add(name)
        if schema["type"] == "enum":
            made = Compiled(values.enum_of(schema["symbols"]), pa.string())
        elif schema["type"] == "fixed":
            size = schema["size"]
            made = _logical(schema, Compiled(values.fixed_of(size), pa.binary(size), empty=size == 0))
        else:
            made = self._record(schema["fields"], depth)
        self._open.remove(name)
        self._done[name] = made
        return made

    def _record(self, fields: Sequence[Any], depth: int) -> Compiled:
        parts = [(field["name"], self.compile(field["type"], depth + 1)) for field in fields]
        return Compiled(
            values.record_of([(name, part.read) for name, part in parts]),
            pa.struct([(name, part.kind) for name, part in parts if part.kind is not None]),
            empty=all(part.empty for _, part in parts),
            types=1 + sum(part.types for _, part in parts),
        )

    def _repeated(self, schema: Any, depth: int) -> Compiled:
        if schema["type"] == "map":
            item = self.compile(schema["values"], depth + 1)
            kind = None if item.kind is None else pa.map_(pa.string(), item.kind)
            return Compiled(values.map_of(item.read), kind, types=1 + item.types)
        item = self.compile(schema["items"], depth + 1)
        if item.empty:
            raise ValueError("it has an array of items that take no bytes")
        kind = None if item.kind is None else pa.list_(item.kind)
        return Compiled(values.array_of(item.read), kind, types=1 + item.types)

    def _union(self, schema: Sequence[Any], depth: int) -> Compiled:
        parts = [self.compile(branch, depth + 1) for branch in schema]
        kinds = [part.kind for part in parts if part.kind is None or not pa.types.is_null(part.kind)]
        read = values.union_of([part.read for part in parts])
        types = 1 + sum(part.types for part in parts)
        if not kinds:
            return Compiled(read, pa.null(), types=types)
        if all(kind == kinds[0] for kind in kinds):
            return Compiled(read, kinds[0], types=types)
        if all(kind in (pa.int64(), pa.float64()) for kind in kinds):
            branches = [part.read if part.kind == pa.null() else _as_float(part.read) for part in parts]
            return Compiled(values.union_of(branches), pa.float64(), types=types)
        return Compiled(read, None, types=types)


_PRIMITIVES = {
    "null": Compiled(values.null, pa.null(), empty=True),
    "boolean": Compiled(values.boolean, pa.bool_()),
    # A later schema may make a `long` of an `int`, and a `double` of a `float`: the column is wide enough for both.
    "int": Compiled(_INT, pa.int64()),
    "long": Compiled(values.long, pa.int64()),
    "float": Compiled(values.float_, pa.float64()),
    "double": Compiled(values.double, pa.float64()),
    "bytes": Compiled(values.variable, pa.binary()),
    "string": Compiled(values.string, pa.string()),
}


def _logical(schema: Any, plain: Compiled) -> Compiled:
    """The type with its meaning; as plain as it is where the schema's logical type is not known, or does not fit."""
    what, base = schema.get("logicalType"), schema["type"]
    if base == "long" and what in _TIMESTAMPS:
        return Compiled(values.long, pa.timestamp(*_TIMESTAMPS[what]))
    if base == "int" and what == "date":
        return Compiled(_INT, pa.date32())
    if base == "int" and what == "time-millis":
        return Compiled(values.checked(values.long, 0, _DAY), pa.time32("ms"))
    if base == "long" and what == "time-micros":
        return Compiled(values.checked(values.long, 0, _DAY * 1000), pa.time64("us"))
    if base == "fixed" and what == "uuid" and schema["size"] == 16:
        return Compiled(_as_uuid(plain.read), pa.string())
    if base in ("bytes", "fixed") and what == "decimal":
        precision, scale = schema.get("precision", 0), schema.get("scale", 0)
        if isinstance(precision, int) and isinstance(scale, int) and 0 <= scale <= precision and 1 <= precision <= 76:
            kind = pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
            return Compiled(values.decimal_of(plain.read, precision, scale), kind, empty=plain.empty)
    return plain


def _as_float(reader: Reader) -> Reader:
    def read(data: bytes, at: int) -> tuple[float, int]:
        value, at = reader(data, at)
        return float(value), at

    return read


def _as_uuid(reader: Reader) -> Reader:
    def read(data: bytes, at: int) -> tuple[str, int]:
        value, at = reader(data, at)
        return str(uuid.UUID(bytes=value)), at

    return read
