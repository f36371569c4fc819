"""Rows of one CSV or JSON lines file, by blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from penrose_host.contracts.batch import Reject
from penrose_host.datasources.files.byte_stream import BLOCK_BYTES
from penrose_host.datasources.files.slices import FileSlice, beyond_end, make_slice
from penrose_host.formats.text import KEPT_BYTES, Block, Framer, Parser, Span, parse_spans, too_long

if TYPE_CHECKING:
    from penrose_host.datasources.files.byte_stream import ByteStream
    from penrose_host.datasources.files.listing import DataFile

__all__ = ["TextReader"]


class TextReader:
    """Reads the rows of one CSV or JSON lines file. Lines that are empty are no rows and have no offset.

    While a file grows, `read` and `skip_to` go no further than its last complete row, and `read` may be called again
    once there is more.
    """

    def __init__(
        self,
        file: DataFile,
        source: ByteStream,
        framer: Framer,
        rest: bytes,
        max_row_bytes: int,
        *,
        grows: bool = False,
    ) -> None:
        """`rest`: bytes that were read from `source` already. `grows`: the end of the bytes is not the end."""
        self._parser: Parser | None = None
        self._schema: pa.Schema | None = None
        self._file = file
        self._source = source
        self._framer = framer
        self._limit = max_row_bytes
        self._buffer = rest
        self._grows = grows
        self._final = False
        self._too_long: tuple[bytes, int] | None = None
        self._row = 0
        self._held: Block | None = None
        self._from = 0

    def parse_with(self, parser: Parser, schema: pa.Schema) -> None:
        """What makes columns, and which; has to be set before `read`."""
        self._parser, self._schema = parser, schema

    def skip_to(self, offset: int) -> None:
        """Go on at this row. Raises WrongStream where there are fewer rows, SourceError where reading fails."""
        while self._row < offset:
            block = self._next_block()
            if block is None:
                raise beyond_end(self._file, offset, self._row)
            if self._row + block.rows > offset:
                self._held = block
                self._from = offset
                return
            self._row += block.rows

    def sample(self) -> list[bytes]:
        """Rows that look right, of the first block that has any; none where the file has none. Reads past them."""
        rows: list[bytes] = []
        while not rows and (block := self._next_block()) is not None:
            rows = [block.data[s.start : s.stop] for s in self._spans(block) if s.fault is None]
        return rows

    def read(self) -> FileSlice | None:
        block, self._held = self._held or self._next_block(), None
        if block is None:
            return None
        start, self._row = self._row, self._row + block.rows
        part = self._parsed(block, start)
        return part.split(self._from)[1] if self._from > start else part

    def stop_growing(self) -> None:
        """Nothing more will be appended: what is left is the last row."""
        self._grows = False

    def close(self) -> None:
        self._source.close()

    def _parsed(self, block: Block, start: int) -> FileSlice:
        assert self._parser is not None
        name, stop = self._file.name, start + block.rows
        parsed = self._parsed_at_once(block) if block.spans is None else None
        if parsed is not None and not parsed[1]:
            return make_slice(name, parsed[0], start, stop)
        spans = self._spans(block)
        batch, faults = parsed or parse_spans(self._parser, self._schema, block.data, spans)
        rejects = [
            Reject(name, start + index, fault, block.data[spans[index].start : spans[index].stop][:KEPT_BYTES])
            for index, fault in sorted(faults.items())
        ]
        good = np.setdiff1d(np.arange(start, stop, dtype=np.int64), np.array([r.offset for r in rejects], np.int64))
        return make_slice(name, batch, start, stop, good, rejects)

    def _parsed_at_once(self, block: Block) -> tuple[pa.RecordBatch, dict[int, str]] | None:
        """Columns and faults of a block that looks right; None where it is not, after all, one row a line."""
        assert self._parser is not None
        try:
            batch, faults = self._parser.parse(block.data)
        except pa.ArrowException:
            return None
        return (batch, faults) if batch.num_rows + len(faults) == block.rows else None

    def _spans(self, block: Block) -> Sequence[Span]:
        return block.spans or self._framer.frame(block.data, final=True, in_detail=True).spans or ()

    def _next_block(self) -> Block | None:
        while True:
            if self._buffer:
                block = self._framer.frame(self._buffer, final=self._final)
                self._buffer = self._buffer[len(block.data) :]
                if block.rows:
                    return block
            if self._final and not self._buffer:
                return None
            if self._too_long or (len(self._buffer) > self._limit and b"\n" not in self._buffer):
                return self._skip_long_row()
            if not self._fill():
                return None

    def _fill(self) -> bool:
        """More bytes into the buffer, or the end; False where there is neither for now."""
        # Doubling: a row as long as the limit is looked at a few times, not once for each block.
        data = self._read(max(BLOCK_BYTES, len(self._buffer)))
        if data is None:
            return False
        self._buffer += data
        if self._final and self._buffer and not self._buffer.endswith(b"\n"):
            self._buffer += b"\n"
        return True

    def _skip_long_row(self) -> Block | None:
        """Drop the bytes of a line that is too long, up to its end, as they come; None where they come later."""
        kept, length = self._too_long or (self._buffer[:KEPT_BYTES], len(self._buffer))
        end, self._buffer = -1, b""
        while end < 0 and not self._final:
            data = self._read(BLOCK_BYTES)
            if data is None:
                self._too_long = kept, length
                return None
            end = data.find(b"\n")
            line = data if end < 0 else data[:end]
            kept += line[: KEPT_BYTES - len(kept)]
            length += len(line)
            self._buffer = data[end + 1 :] if end >= 0 else b""
        self._too_long = None
        if length == len(kept):
            kept = kept.removesuffix(b"\r")
        return Block(kept, 1, [Span(0, len(kept), too_long(length, self._limit))])

    def _read(self, size: int) -> bytes | None:
        """The next bytes; none at the end, which is final then; None where a file that grows has no more yet."""
        data = self._source.read(size)
        if not data:
            self._source.check(self._row)
            if self._grows:
                return None
            self._final = True
        return data
