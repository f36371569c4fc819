"""CSV: a message is one row, without a header."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from penrose_host.decoding.columns import Columns
from penrose_host.decoding.decoder import Decoder, Rows
from penrose_host.decoding.framing import Payloads
from penrose_host.decoding.options import DecoderOptions
from penrose_host.errors import WrongStream
from penrose_host.formats.csv_frames import CsvFramer
from penrose_host.formats.csv_text import CsvParser, infer_csv
from penrose_host.formats.text import Span, parse_spans

__all__ = ["CsvDecoder"]

_ENDS = (b"", b"\n", b"\r\n", b"\r")
#: The parser would pass over one in front of the first message, and not of the others.
_MARK = b"\xef\xbb\xbf"


class CsvDecoder(Decoder):
    """Fields are columns, called as `columns` says. A line end may follow the row."""

    def __init__(self, options: DecoderOptions, columns: Columns) -> None:
        """Raises WrongStream where a field has no type in a run that goes on: no message is looked at for one."""
        super().__init__(options, columns)
        assert options.columns is not None
        self._names = options.columns
        schema = columns.schema
        if schema is not None and (new := [name for name in self._names if name not in schema.names]):
            raise WrongStream(
                f"`columns` names fields that the run did not begin with: {', '.join(new)}",
                hint="give their types in `column_types`, or start a new run in another run directory",
            )
        self._dialect = options.csv
        self._delimiter = options.csv.delimiter or ","
        self._framer = CsvFramer(self._delimiter, options.csv.quote, len(self._names), options.max_message_bytes)

    def _learn(self, payloads: Payloads) -> None:
        rows = [row[span.start : span.stop] for row in payloads.data if not (span := self._span(row)).fault]
        if rows:
            self._columns.add(infer_csv(rows, self._names, self._dialect, self._delimiter))

    def _decode(self, payloads: Payloads) -> Rows:
        schema = self._columns.schema
        messages = payloads.data
        if schema is None:
            batch = pa.RecordBatch.from_pylist([], schema=self._columns.current)
            return Rows(batch, {index: self._span(row).fault or "" for index, row in enumerate(messages)})
        parser = CsvParser(self._names, schema, self._dialect, self._delimiter, declared=self._options.column_types)
        found = self._at_once(parser, messages) or self._in_detail(parser, schema, messages)
        return Rows(*found)

    def _at_once(self, parser: CsvParser, messages: Sequence[bytes]) -> tuple[pa.RecordBatch, dict[int, str]] | None:
        """Columns and faults of messages that are one line each; None where they are not, after all, one row each."""
        joined = b"\n".join((*messages, b""))
        count = len(messages)
        if not count or joined.count(b"\n") != count or _MARK in joined:
            return None
        if self._framer.frame(joined, final=True).spans is not None:
            return None
        try:
            batch, faults = parser.parse(joined)
        except pa.ArrowException:
            return None
        return (batch, faults) if batch.num_rows + len(faults) == count else None

    def _in_detail(
        self, parser: CsvParser, schema: pa.Schema, messages: Sequence[bytes]
    ) -> tuple[pa.RecordBatch, dict[int, str]]:
        spans = []
        start = 0
        for message in messages:
            span = self._span(message)
            spans.append(Span(start + span.start, start + span.stop, span.fault))
            start += len(message)
        return parse_spans(parser, schema, b"".join(messages), spans)

    def _span(self, message: bytes) -> Span:
        """Where the row is in the message, and what is wrong with it."""
        if message.startswith(_MARK):
            return Span(0, len(message), "the message starts with a byte order mark")
        spans, _ = self._framer.scan(message if message.endswith(b"\n") else message + b"\n", final=True)
        if len(spans) == 1 and spans[0].start == 0 and message[spans[0].stop :] in _ENDS:
            return spans[0]
        return Span(0, len(message), "the message holds more than one line" if spans else "the message is empty")
