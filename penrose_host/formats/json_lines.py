"""JSON lines: one object a line."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json

from penrose_host.formats.batches import one_batch
from penrose_host.formats.casting import way_on
from penrose_host.formats.text import Block, Span, too_long, utf8_fault

__all__ = ["JsonFramer", "JsonParser", "infer_json", "infer_objects", "read_objects"]

_LF, _CR, _OPEN, _CLOSE = b"\n\r{}"
_BLANK = b" \t\r"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_IN_ROW = re.compile(r"^JSON parse error: |(?:\.? in row \d+)$")
#: Objects within objects deeper than this are left out of what is inferred.
_DEPTH = 8


class JsonFramer:
    """Lines that start with `{` and end with `}`.

    Such lines cannot run into each other: between `}` and `{` JSON needs a comma, and a line end inside a string is an
    error. So where a parser finds as many objects as there are lines, each line is one object.
    """

    def __init__(self, max_row_bytes: int) -> None:
        self._limit = max_row_bytes

    def frame(self, data: bytes, *, final: bool, in_detail: bool = False) -> Block:  # noqa: ARG002 - a line is a row
        """See `Framer`."""
        lines = data[: data.rfind(b"\n") + 1]
        if not in_detail and self._look_right(lines):
            return Block(lines, lines.count(b"\n"))
        spans = []
        start = 0
        for line in lines.split(b"\n")[:-1]:
            content = line.strip(_BLANK)
            if content or len(line) > self._limit:
                spans.append(Span(start, start + len(line.removesuffix(b"\r")), self._fault(line, content)))
            start += len(line) + 1
        return Block(lines, len(spans), spans)

    def _look_right(self, lines: bytes) -> bool:
        """Whether every line starts and ends as it should; some that do with blanks around are not recognised."""
        if len(lines) > self._limit or not lines.startswith(b"{") or utf8_fault(lines):
            return False
        characters = np.frombuffer(lines, dtype=np.uint8)
        line_ends = np.flatnonzero(characters == _LF)
        last = characters[line_ends - 1]
        last = np.where(last == _CR, characters[line_ends - 2], last)
        return bool((characters[line_ends[:-1] + 1] == _OPEN).all() and (last == _CLOSE).all())

    def _fault(self, line: bytes, content: bytes) -> str | None:
        if len(line) > self._limit:
            return too_long(len(line), self._limit)
        if not (content.startswith(b"{") and content.endswith(b"}")):
            return f"the line is not a JSON object{' but an array' if content.startswith(b'[') else ''}"
        return utf8_fault(line)


class JsonParser:
    """See `Parser`. Keys that are no column are passed over, or (`unexpected="error"`) refused.

    `declared`: columns whose types the job gives; of the others, faults say how to give one.
    """

    def __init__(self, schema: pa.Schema, unexpected: str = "ignore", declared: Collection[str] = ()) -> None:
        self._guessed = [field for field in schema if field.name not in declared]
        self._parse = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unexpected)

    def parse(self, data: bytes, block_bytes: int = 0) -> tuple[pa.RecordBatch, dict[int, str]]:
        """`block_bytes`: parse blocks of about so much on all processors; raises where one ends within an object."""
        # By default one block and one thread: decoding runs beside training already.
        read = pyarrow.json.ReadOptions(use_threads=block_bytes > 0, block_size=block_bytes or len(data) + 1)
        table = pyarrow.json.read_json(pa.BufferReader(data), read_options=read, parse_options=self._parse)
        return one_batch(table), {}

    def explain(self, row: bytes, error: str) -> str:
        try:
            found = json.loads(row)
        except (ValueError, RecursionError) as reason:
            return f"it is not a JSON object: {reason}"
        for field in self._guessed if isinstance(found, dict) else ():
            if pa.types.is_integer(field.type) and isinstance(value := found.get(field.name), float):
                return f"column {field.name!r}: {value} is not {field.type}{way_on(field.name, field.type)}"
        return _IN_ROW.sub("", error) or "it holds more than one JSON value"


def infer_json(rows: Iterable[bytes]) -> pa.Schema:
    """The types of the columns, as these rows suggest them; text where all values are null.

    A column has the kind (number, text, list, object, boolean) that most of its values have. Text that is a date
    with a time throughout is a timestamp.
    """
    return infer_objects(read_objects(rows), pa.string())


def read_objects(rows: Iterable[bytes]) -> list[dict[str, Any]]:
    """The objects in these rows, without rows that cannot be read."""
    objects = []
    for row in rows:
        try:
            item = json.loads(row.decode())
            if _SURROGATE.search(row):
                json.dumps(item, ensure_ascii=False).encode()  # half a pair is no text
        except (ValueError, RecursionError):
            continue  # a bad row: it is rejected when its turn comes
        objects.append(item)
    return objects


def infer_objects(objects: Iterable[dict[str, Any]], unknown: pa.DataType) -> pa.Schema:
    """See `infer_json`."""
    return pa.schema(_fields(objects, _DEPTH, unknown))


def _fields(objects: Iterable[dict[str, Any]], depth: int, unknown: pa.DataType) -> list[pa.Field]:
    values: dict[str, list[Any]] = {}
    for item in objects:
        for name, value in item.items():
            values.setdefault(name, []).append(value)
    types = {name: _type(column, depth - 1, unknown) for name, column in values.items()}
    return [pa.field(name, kind) for name, kind in types.items() if kind is not None]


def _type(values: list[Any], depth: int, unknown: pa.DataType) -> pa.DataType | None:
    """The type of most of the values; `unknown` where all are null; None where nested too deeply, or without a key."""
    kinds = {bool: bool, int: float, float: float, str: str, list: list, dict: dict}
    given = [value for value in values if value is not None]
    if pa.types.is_null(unknown):  # then what is empty has no say: it would make no column of what is not
        given = [value for value in given if value not in ([], {})] or given
    counts = Counter(kinds[type(value)] for value in given)
    if not counts:
        return unknown
    kind = counts.most_common(1)[0][0]
    chosen = [value for value in given if kinds[type(value)] is kind]
    if kind is bool:
        return pa.bool_()
    if kind is float:
        whole = all(isinstance(value, int) and -(2**63) <= value < 2**63 for value in chosen)
        return pa.int64() if whole else pa.float64()
    if kind is str:
        return _text_type(chosen)
    if depth == 0:
        return None
    if kind is list:
        item = _type([value for values in chosen for value in values], depth - 1, unknown)
        return None if item is None else pa.list_(item)
    fields = _fields(chosen, depth, unknown)
    return pa.struct(fields) if fields else None


def _text_type(values: list[str]) -> pa.DataType:
    if min(map(len, values)) < len("2000-01-01T00:00"):
        return pa.string()
    texts = pa.array(values)
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            texts.cast(kind)
        except pa.ArrowInvalid:
            continue
        return kind
    return pa.string()
