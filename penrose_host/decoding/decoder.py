"""What all decoders share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from penrose_host.decoding.columns import Columns
from penrose_host.decoding.framing import Payloads, unframe

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Int64
    from penrose_host.decoding.options import DecoderOptions

__all__ = ["Decoded", "Decoder", "Rows"]


@dataclass(frozen=True, slots=True)
class Decoded:
    """The good rows of a batch of messages, in order, and what is wrong with the other messages.

    `message`: for each row the index of its message, ascending. `row`: the number of the row within its message, None
    where each message is one row. `faults`: index of a message → what is wrong with it.
    """

    batch: pa.RecordBatch
    message: Int64
    row: Int64 | None
    faults: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Rows:
    """`Decoded`, by index of the payload. `payload` None: each payload without a fault is one row."""

    batch: pa.RecordBatch
    faults: dict[int, str] = field(default_factory=dict)
    payload: Int64 | None = None
    row: Int64 | None = None


class Decoder(ABC):
    """Messages → columns. What becomes of a message depends on its own bytes and on `schema`, never on its neighbours.

    `rows_per_message`: how many rows a message may have.
    """

    rows_per_message = 1

    def __init__(self, options: DecoderOptions, columns: Columns) -> None:
        self._options = options
        self._columns = columns

    @property
    def schema(self) -> pa.Schema | None:
        """The columns: None until they are fixed. More may be added later; a type never changes."""
        return self._columns.schema

    def state(self) -> str:
        """The columns as text, for `make_decoder(…, state=…)`; empty while they are not fixed."""
        return self._columns.state()

    def infer(self, messages: Sequence[bytes | None]) -> None:
        """Fix the columns by these messages; where none of them is any use they stay open. Raises SourceError."""
        self._learn(unframe(messages, self._options))

    def decode(self, messages: Sequence[bytes | None]) -> Decoded:
        """The rows of these messages. Columns that are new in them are taken up. Raises SourceError."""
        payloads = unframe(messages, self._options)
        if self._columns.schema is None:
            self._learn(payloads)
        rows = self._decode(payloads)
        index = payloads.index
        if rows.payload is not None:
            message = index[rows.payload]
        elif rows.faults:
            message = np.delete(index, list(rows.faults))
        else:
            message = index
        faults = payloads.faults | {int(index[payload]): fault for payload, fault in rows.faults.items()}
        return Decoded(rows.batch, message, rows.row, dict(sorted(faults.items())))

    @abstractmethod
    def _learn(self, payloads: Payloads) -> None:
        """Fix the columns, or add new ones."""

    @abstractmethod
    def _decode(self, payloads: Payloads) -> Rows:
        """The rows of the payloads, with the columns `self._columns.current` (which may have grown by them)."""
