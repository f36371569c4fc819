"""Decoders: the bytes of messages → Arrow columns, by whole batches. For any datasource whose records are messages.

Imported lazily: options are checked without pyarrow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from penrose_host.decoding.options import DecoderOptions

if TYPE_CHECKING:
    from penrose_host.decoding.decoder import Decoded, Decoder
    from penrose_host.decoding.making import make_decoder

_MODULE_OF = {"Decoded": "decoder", "Decoder": "decoder", "make_decoder": "making"}

__all__ = ["Decoded", "Decoder", "DecoderOptions", "make_decoder"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
