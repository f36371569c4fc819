"""Arrow IPC: a message is one whole stream, the schema and any number of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from penrose_host.decoding.arrow.streams import column_type, plain_batch, read_stream
from penrose_host.decoding.conforming import conform_batch
from penrose_host.decoding.decoder import Decoder, Rows
from penrose_host.decoding.framing import Payloads
from penrose_host.formats.promotion import promotes

__all__ = ["ArrowDecoder"]


class ArrowDecoder(Decoder):
    """Columns are matched by name. A message with a value that does not fit is bad as a whole."""

    rows_per_message = 1 << 20

    def _learn(self, payloads: Payloads) -> None:
        self._decode(payloads)

    def _decode(self, payloads: Payloads) -> Rows:
        limit = self._options.max_message_bytes
        faults: dict[int, str] = {}
        read: list[tuple[int, list[pa.RecordBatch]]] = []
        for index, data in enumerate(payloads.data):
            try:
                batches = read_stream(data, self.rows_per_message, limit)
            except (pa.ArrowException, ValueError, OSError, MemoryError, KeyError, NotImplementedError) as error:
                faults[index] = f"the message is not an Arrow IPC stream: {error}"
                continue
            read.append((index, batches))
            if self._misfit(batches[0].schema) is None:
                found = ((f.name, column_type(f.type)) for f in batches[0].schema)
                self._columns.add(pa.field(name, kind) for name, kind in found if kind is not None)
        schema = self._columns.current
        done, payload, row = [], [], []
        for index, batches in read:
            if fault := self._misfit(batches[0].schema):  # asked again: there may be more columns by now
                faults[index] = fault
                continue
            try:
                parts = [conform_batch(plain_batch(batch, set(schema.names), limit), schema) for batch in batches]
            except ValueError as error:
                faults[index] = str(error)
                continue
            done += parts
            rows = sum(batch.num_rows for batch in parts)
            payload.append(np.full(rows, index, dtype=np.int64))
            row.append(np.arange(rows, dtype=np.int64))
        none = np.zeros(0, dtype=np.int64)
        batch = pa.concat_batches(done) if done else pa.RecordBatch.from_pylist([], schema=schema)
        return Rows(batch, faults, np.concatenate([none, *payload]), np.concatenate([none, *row]))

    def _misfit(self, schema: pa.Schema) -> str | None:
        """What is wrong where a column is of another kind than it has been."""
        known = {field.name: field.type for field in self._columns.current}
        for field in schema:
            if field.name in known:
                want = known[field.name]
                if not _fits(field.type, want, at_will=field.name in self._options.column_types):
                    return f"column {field.name!r} is {want}, and the message has {field.type} there"
        return None


def _fits(have: Any, want: pa.DataType, *, at_will: bool) -> bool:
    """Whether to try to cast; `at_will`: to a type that the options give, from whatever can be cast to it."""
    kind = pa.null() if pa.types.is_null(have) else column_type(have)
    if kind is None:
        return False
    return at_will or promotes(kind, want) or (pa.types.is_floating(have) and pa.types.is_integer(want))
