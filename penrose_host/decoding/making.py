"""From options to a decoder."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from penrose_host.decoding.columns import Columns
from penrose_host.decoding.decoder import Decoder

if TYPE_CHECKING:
    from penrose_host.decoding.options import DecoderOptions

__all__ = ["make_decoder"]

_DECODERS = {
    "json": "json.messages:JsonDecoder",
    "csv": "csv_messages:CsvDecoder",
    "arrow": "arrow.messages:ArrowDecoder",
    "raw": "raw_messages:RawDecoder",
}


def make_decoder(
    options: DecoderOptions,
    *,
    plugin: str | None = None,
    schemas: Callable[[int], str] | None = None,
    state: str = "",
) -> Decoder:
    """The decoder of these options.

    `plugin`: the datasource that decodes, which errors name. `schemas`: id → Avro schema as JSON text (a registry); a
    KeyError makes a message a bad row, other errors pass through. `state`: what `Decoder.state` gave, to go on with
    the same columns. Raises SourceError where a schema is missing or cannot be read, WrongStream where `state` does not
    go with the options.
    """
    columns = Columns(options, state)
    if options.format == "avro":
        from penrose_host.decoding.avro.messages import AvroDecoder
        from penrose_host.decoding.avro.schemas import schema_source

        return AvroDecoder(options, columns, schema_source(options, schemas, plugin))
    module, _, name = _DECODERS[options.format].partition(":")
    made: Decoder = getattr(importlib.import_module(f"penrose_host.decoding.{module}"), name)(options, columns)
    return made
