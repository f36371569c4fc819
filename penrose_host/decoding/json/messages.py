"""JSON: a message is one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.json

from penrose_host.decoding.columns import MAX_COLUMNS, Columns
from penrose_host.decoding.conforming import conform_batch
from penrose_host.decoding.decoder import Decoder, Rows
from penrose_host.decoding.framing import Payloads
from penrose_host.decoding.json.frames import looks_right, spans_of
from penrose_host.decoding.json.misfits import misfits
from penrose_host.decoding.json.numbers import overflows
from penrose_host.decoding.json.types import field_count, settled, widened
from penrose_host.decoding.options import DecoderOptions
from penrose_host.formats.json_lines import JsonParser, infer_objects, read_objects
from penrose_host.formats.text import Span, parse_spans

__all__ = ["JsonDecoder"]

#: Blocks of a large batch are parsed side by side.
_BLOCK_BYTES = 256 << 10


class JsonDecoder(Decoder):
    """Keys are columns. Keys that are new become columns; those that are new inside of objects are passed over.

    What a message is worth is what a parser makes of it that passes over what it does not know. To notice new keys at
    no cost, messages are first given to a strict parser that knows all keys that were ever seen, also those that are
    passed over: where that one takes them all, nothing is new.
    """

    def __init__(self, options: DecoderOptions, columns: Columns) -> None:
        super().__init__(options, columns)
        self._seen: pa.DataType = pa.struct([])
        self._full = False
        self._prepare()

    def _learn(self, payloads: Payloads) -> None:
        self._decode(payloads)

    def _decode(self, payloads: Payloads) -> Rows:
        messages = payloads.data
        joined = b"\n".join((*messages, b""))
        faults: dict[int, str] = {}
        batch = None
        if messages and looks_right(messages, joined):
            batch = self._at_once(joined, len(messages), self._strict if self._columns.open else self._parser)
        if batch is None:
            batch, faults = self._in_detail(messages, joined)
        good = np.delete(np.arange(len(messages)), list(faults))
        if huge := overflows(batch, [messages[index] for index in good.tolist()] if faults else messages):
            faults |= {int(good[row]): fault for row, fault in huge.items()}
            batch = batch.take(pa.array(np.delete(np.arange(len(good)), list(huge))))
        if self._columns.schema is None and batch.num_rows:
            self._columns.add(())
        return Rows(batch, faults)

    def _at_once(self, joined: bytes, rows: int, parser: JsonParser) -> pa.RecordBatch | None:
        """The columns of messages that look right; None where they are not, after all, one row each."""
        for block_bytes in (_BLOCK_BYTES, 0) if len(joined) > 2 * _BLOCK_BYTES else (0,):
            try:
                batch, _ = parser.parse(joined, block_bytes)
            except pa.ArrowException:
                continue  # an object may have line ends, or be longer than a block
            return conform_batch(batch, self._columns.current) if batch.num_rows == rows else None
        return None

    def _in_detail(self, messages: Sequence[bytes], joined: bytes) -> tuple[pa.RecordBatch, dict[int, str]]:
        """The columns, with those that are new, and index → fault of what is no row."""
        spans = spans_of(messages)
        batch, faults = self._parse(messages, joined, spans)
        if self._columns.open:
            good = [message for index, message in enumerate(messages) if index not in faults]
            if good and self._take_up(good):
                batch, faults = self._parse(messages, joined, spans)
        return batch, faults

    def _parse(
        self, messages: Sequence[bytes], joined: bytes, spans: list[Span]
    ) -> tuple[pa.RecordBatch, dict[int, str]]:
        """What the parser makes of each message."""
        schema = self._columns.current
        if not any(span.fault for span in spans):
            batch = self._at_once(joined, len(messages), self._parser)
            if batch is not None:
                return batch, {}
        fault = misfits(schema)
        checked = [
            span if span.fault else replace(span, fault=fault(message))
            for message, span in zip(messages, spans, strict=True)
        ]
        return parse_spans(self._parser, schema, joined, checked)

    def _take_up(self, good: list[bytes]) -> bool:
        """Whether there are new columns in these messages; they are added."""
        if self._at_once(b"\n".join((*good, b"")), len(good), self._strict) is not None:
            return False
        objects = read_objects(good)
        if self._full:
            new = self._columns.new_among(chain.from_iterable(objects))
            objects = [{key: value for key, value in item.items() if key in new} for item in objects]
        found = infer_objects(objects, pa.null())
        grown = self._columns.add(pa.field(f.name, kind) for f in found if (kind := settled(f.type)) is not None)
        seen = widened(self._seen, pa.struct(list(found)))
        self._full = self._full or field_count(seen) > MAX_COLUMNS
        if not self._full:
            self._seen = seen
        if grown or not self._full:
            self._prepare()
        return grown

    def _prepare(self) -> None:
        schema = self._columns.current
        self._parser = JsonParser(schema)
        known = widened(pa.struct(list(schema)), self._seen)
        self._strict = JsonParser(pa.schema(list(known)), unexpected="error")
