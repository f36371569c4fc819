"""CSV and JSON lines: bytes are cut into rows here, before anything is parsed, so that no row is lost, glued or split.

A *framer* finds the rows in a stretch of bytes and says which of them cannot be one; a *parser* makes columns of the
others, a whole block at a time. Where the parser refuses a block, halving it finds the rows at fault. What
becomes of a row depends on its own bytes and on the columns' types only, not on how the file was cut into blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from penrose_host.formats.batches import one_batch

__all__ = ["Block", "Framer", "Parser", "Span", "parse_spans", "too_long", "utf8_fault"]

#: So much of a bad row is kept in its reject.
KEPT_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Span:
    """One row of a block: the bytes start..stop, without line end; `fault` where it cannot be parsed."""

    start: int
    stop: int
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Whole rows: `data`, ending with a line end; how many; and where each is (None: one a line, each looks right)."""

    data: bytes
    rows: int
    spans: Sequence[Span] | None = None


class Framer(Protocol):
    """Finds rows in bytes."""

    def frame(self, data: bytes, *, final: bool, in_detail: bool = False) -> Block:
        """The rows at the start of `data` that are complete; `len(block.data)` bytes of it are then done with.

        `final`: the file ends with `data`, and `data` with a line end. `in_detail`: give spans in any case.
        """


class Parser(Protocol):
    """Makes columns of rows."""

    def parse(self, data: bytes) -> tuple[pa.RecordBatch, dict[int, str]]:
        """Rows that a framer found no fault with: their columns, without those rows that have a fault (row → which).

        Raises ArrowException where it cannot tell which row is at fault.
        """

    def explain(self, row: bytes, error: str) -> str:
        """What is wrong with a row that `parse` refused alone, or (`error` empty) did not read as one row."""


def too_long(length: int, limit: int) -> str:
    """The fault of a row that is longer than the limit."""
    return f"the row has {length} bytes, more than `max_row_bytes` ({limit}) allows"


def utf8_fault(data: bytes) -> str | None:
    """The fault of bytes that are not UTF-8."""
    if data.isascii():
        return None
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return f"the byte {data[error.start]:#04x} at {error.start} is not UTF-8"
    return None


def parse_spans(
    parser: Parser, schema: pa.Schema, data: bytes, spans: Sequence[Span]
) -> tuple[pa.RecordBatch, dict[int, str]]:
    """The columns of all rows without a fault, and index → fault for the others."""
    faults = {index: span.fault for index, span in enumerate(spans) if span.fault is not None}
    good = [index for index, span in enumerate(spans) if span.fault is None]
    batches: list[pa.RecordBatch] = []

    def attempt(low: int, high: int) -> None:
        rows = [data[spans[index].start : spans[index].stop] for index in good[low:high]]
        error = ""
        try:
            batch, found = parser.parse(b"\n".join(rows) + b"\n")
            if batch.num_rows + len(found) == high - low:
                batches.append(batch)
                faults.update({good[low + row]: fault for row, fault in found.items()})
                return
        except pa.ArrowException as refused:
            error = str(refused)
        if high - low == 1:
            faults[good[low]] = parser.explain(rows[0], error)
            return
        middle = (low + high) // 2
        attempt(low, middle)
        attempt(middle, high)

    if good:
        attempt(0, len(good))
    return one_batch(pa.Table.from_batches(batches, schema)), faults
