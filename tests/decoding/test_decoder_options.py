"""What options may say, and what is imported for them."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pytest
from decoding_support import check
from pydantic import ValidationError

from penrose_host.decoding import DecoderOptions, make_decoder


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"format": "xml"}, "json"),
        ({"what": 1}, "Extra"),
        ({"column_types": {"a": "integer"}}, "is no type"),
        ({"columns": []}, "at least one"),
        ({"columns": ["a", "a"]}, "each once"),
        ({"columns": ["a"], "column_types": {"b": "string"}}, "not in `columns`: b"),
        ({"format": "csv"}, "no header"),
        ({"format": "csv", "columns": ["a"], "column_types": {"a": "list<int64>"}}, "cannot hold a list"),
        ({"format": "csv", "columns": ["a"], "csv": {"header": True}}, "Extra"),
        ({"format": "csv", "columns": ["a"], "csv": {"delimiter": ";;"}}, "one ASCII character"),
        ({"format": "raw", "columns": ["a"]}, "one column `value`"),
        ({"avro_schema": "a.avsc"}, "`format: avro`"),
        ({"format": "avro", "framing": "none"}, "set `avro_schema`"),
        ({"format": "avro", "avro_schema": "a.avsc"}, "id → file"),
        ({"format": "avro", "framing": "none", "avro_schema": {"1": "a.avsc"}}, "one file"),
        ({"max_message_bytes": 0}, "greater"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, reason):
    with pytest.raises(ValidationError, match=reason):
        DecoderOptions(**options)


def test_raw_messages_are_one_binary_column():
    options = DecoderOptions(format="raw")
    decoder = make_decoder(options)
    assert decoder.schema == pa.schema([("value", pa.binary())])
    done = check(options, decoder, [b"\xff\0", None, b""])
    assert done.batch.to_pydict() == {"value": [b"\xff\0", b""]}
    assert done.message.tolist() == [0, 2]
    assert list(done.faults) == [1]
    assert make_decoder(options, state=decoder.state()).schema == decoder.schema


def test_options_are_checked_without_pyarrow():
    code = "import sys, penrose_host.decoding as it; it.DecoderOptions(); print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_a_name_that_is_not_there_is_an_attribute_error():
    import penrose_host.decoding

    with pytest.raises(AttributeError, match="decoders"):
        _ = penrose_host.decoding.decoders
