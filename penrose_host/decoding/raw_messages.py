"""Messages as they are."""

from __future__ import annotations

import pyarrow as pa

from penrose_host.decoding.columns import Columns
from penrose_host.decoding.decoder import Decoder, Rows
from penrose_host.decoding.framing import Payloads
from penrose_host.decoding.options import DecoderOptions

__all__ = ["RawDecoder"]

_VALUE = pa.schema([("value", pa.binary())])


class RawDecoder(Decoder):
    """One binary column, `value`."""

    def __init__(self, options: DecoderOptions, columns: Columns) -> None:
        super().__init__(options, columns)
        columns.schema = _VALUE

    def _learn(self, payloads: Payloads) -> None:
        """The column is known."""

    def _decode(self, payloads: Payloads) -> Rows:
        return Rows(pa.RecordBatch.from_arrays([pa.array(payloads.data, pa.binary())], schema=_VALUE))
