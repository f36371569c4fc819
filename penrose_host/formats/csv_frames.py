"""Where the rows of a CSV file begin and end.

A row is what RFC 4180 calls a record: fields that are quoted whole, or not at all; quotes doubled inside quotes; line
ends allowed inside quotes. Where no such row with the right number of fields starts at a line, that line alone is a
bad row, and the next row starts at the next line: a stray quote costs one line, never those after it.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from penrose_host.formats.text import Block, Span, too_long, utf8_fault

__all__ = ["CsvFramer"]

_LF: Final = 10
_CR: Final = 13


class _NeedMore(Exception):
    """The row may go on behind the bytes that are there."""


class CsvFramer:
    """Finds rows of `fields` fields (None: any number, as for the header)."""

    def __init__(self, delimiter: str, quote: str | None, fields: int | None, max_row_bytes: int) -> None:
        self._delimiter = delimiter.encode()
        self._quote = quote.encode() if quote else None
        self._fields = fields
        self._limit = max_row_bytes
        special = b"".join(re.escape(c) for c in (self._delimiter, self._quote or b"")) + b"\r\n"
        self._plain = re.compile(b"[^" + special + b"]*+")
        if self._quote:
            q = re.escape(self._quote)
            self._quoted = re.compile(q + b"[^" + q + b"]*+(?:" + q + q + b"[^" + q + b"]*+)*+" + q)
            #: What may stand before an opening quote, and after a closing one, by byte.
            self._outside = np.zeros(256, dtype=np.bool_)
            self._outside[[self._delimiter[0], self._quote[0], _LF, _CR]] = True

    def frame(self, data: bytes, *, final: bool, in_detail: bool = False) -> Block:
        """See `Framer`. Gives no spans where each line is one row (of any number of fields)."""
        cut = data.rfind(b"\n") + 1
        lines = data[:cut]
        if not in_detail and cut and self._one_row_a_line(lines):
            return Block(lines, lines.count(b"\n"))
        spans, done = self.scan(data, final=final)
        return Block(data[:done], len(spans), spans)

    def _one_row_a_line(self, lines: bytes) -> bool:
        """Whether rows and lines are the same thing here, for certain; False also where that is costly to tell."""
        if len(lines) > self._limit or lines[0] in b"\r\n" or b"\n\n" in lines or utf8_fault(lines):
            return False
        if b"\r" in lines and (lines.count(b"\r") != lines.count(b"\r\n") or b"\n\r\n" in lines):
            return False
        if self._quote is None or self._quote not in lines:
            return True
        characters = np.frombuffer(lines, dtype=np.uint8)
        quotes = np.flatnonzero(characters == self._quote[0])
        if len(quotes) % 2:
            return False
        opening, closing = quotes[::2], quotes[1::2]
        before = characters[np.maximum(opening - 1, 0)]
        before[opening == 0] = _LF
        if not (self._outside[before].all() and self._outside[characters[closing + 1]].all()):
            return False
        line_ends = np.flatnonzero(characters == _LF)
        return not (np.searchsorted(quotes, line_ends) % 2).any()  # none inside quotes

    def scan(self, data: bytes, *, final: bool, rows: int | None = None) -> tuple[list[Span], int]:
        """Row by row: this defines what a row is. Returns (the first `rows`) rows, and how many bytes they are."""
        spans: list[Span] = []
        position = 0
        while len(spans) != rows and (line_end := data.find(b"\n", position)) >= 0:
            stop = line_end - 1 if data[position:line_end].endswith(b"\r") else line_end
            after = line_end + 1
            line = data[position:stop]
            if line_end - position > self._limit:
                spans.append(Span(position, stop, too_long(line_end - position, self._limit)))
            elif b"\r" in line or (self._quote is not None and self._quote in line):
                try:
                    span, after = self._walk(data, position, after, Span(position, stop), final=final)
                except _NeedMore:
                    break
                spans.append(span)
            elif line:
                fault = self._count_fault(line.count(self._delimiter) + 1) or utf8_fault(line)
                spans.append(Span(position, stop, fault))
            position = after
        return spans, position

    def _walk(self, data: bytes, start: int, next_line: int, line: Span, *, final: bool) -> tuple[Span, int]:
        """The row at `start`, field by field, and where the next one starts. `line`: what is bad where it is none."""
        size = len(data)
        limit = min(size, start + self._limit + 1)
        position, fields = start, 1

        def bad(fault: str) -> tuple[Span, int]:
            return Span(line.start, line.stop, fault), next_line

        def unfinished(fault: str) -> tuple[Span, int]:
            if limit == size and not final:
                raise _NeedMore
            return bad(fault)

        while True:
            quoted = self._quote is not None and data[position : position + 1] == self._quote
            match = (self._quoted if quoted else self._plain).match(data, position, limit)
            if match is None:
                return unfinished(f"a quote is opened in field {fields} and not closed")
            position = match.end()
            if position >= limit:
                return unfinished(f"the row is longer than `max_row_bytes` ({self._limit}) allows")
            if data[position] == self._delimiter[0]:
                position += 1
                fields += 1
                continue
            if data[position] == _CR and position + 1 >= size:
                return unfinished("")
            line_end = data[position : position + 2] == b"\r\n" or data[position] == _LF
            if not line_end:
                what = "a carriage return" if data[position] == _CR else "text" if quoted else "a quote"
                return bad(f"{what} {'after the closing quote' if quoted else 'inside'} of field {fields}")
            row = data[start:position]
            if fault := self._count_fault(fields):
                return bad(fault)
            return Span(start, position, utf8_fault(row)), position + (1 if data[position] == _LF else 2)

    def _count_fault(self, fields: int) -> str | None:
        if self._fields is None or fields == self._fields:
            return None
        return f"the row has {fields} fields, not {self._fields}"
