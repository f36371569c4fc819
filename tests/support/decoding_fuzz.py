"""Gives a decoder mutated messages, and checks all that has to hold. A program, since what it looks for may kill it.

python decoding_fuzz.py FORMAT SEED BATCHES
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from decoding_support import JSON_TOKENS, arrow, avro, check, check_csv, check_json, record, rows_of

from penrose_host.decoding import DecoderOptions, make_decoder

SCHEMAS = [
    record(i="int", s=["null", "string"], l={"type": "array", "items": ["long", "null"]}, b="boolean"),
    record(i="long", m={"type": "map", "values": "double"}, o=record(x="float") | {"name": "o"}, b=["null", "boolean"]),
]
TOKENS = {
    "json": JSON_TOKENS,
    "csv": [b",", b'"', b"\n", b"\r\n", b'""', b"\x00", b"\xef\xbb\xbf", b"\xff"],
    "avro": [b"\x00", b"\x01", b"\x80", b"\xff" * 9 + b"\x01", b"\xfe" + b"\xff" * 8 + b"\x01"],
    "arrow": [b"\x00" * 4, b"\xff" * 4, b"\x01\0\0\0", b"\xff\xff\xff\x7f", b"\0" * 7 + b"\x10", b"\xff" * 8],
}


def arrow_batch(chance: random.Random) -> pa.RecordBatch:
    size = chance.choice([0, 1, 3, 200])
    numbers = np.arange(size)
    columns = {
        "i": pa.array(numbers),
        "s": pa.array([chance.choice(["x", "yé", None]) for _ in numbers], pa.string()),
        "c": pa.array(["abc"[n % 3] for n in numbers], pa.string()).dictionary_encode(),
        "l": pa.array([[1, None] if n % 3 else None for n in numbers], pa.list_(pa.int32())),
        "v": pa.array([[n, 1.0] for n in numbers], pa.list_(pa.float32(), 2)),
        "o": pa.array(
            [{"k": n, "t": "x" * (n % 20)} for n in numbers], pa.struct([("k", pa.int16()), ("t", pa.large_string())])
        ),
        "d": pa.array([n % 2 == 0 for n in numbers]),
        "t": pa.array(numbers, pa.timestamp("us", "UTC")),
        "m": pa.array([[("k", 1)] for _ in numbers], pa.map_(pa.string(), pa.int8())),
        "w": pa.array(["a view that is long enough" for _ in numbers], pa.string_view()),
        "e": pa.array(map(Decimal, numbers.tolist()), pa.decimal128(20, 2)) if size < 200 else pa.nulls(size),
        "r": pa.RunEndEncodedArray.from_arrays(pa.array([size], pa.int32()), pa.array([5]))
        if size
        else pa.array([], pa.int8()),
    }
    chosen = chance.sample(sorted(columns), chance.randint(1, len(columns)))
    return pa.record_batch({name: columns[name] for name in chosen})


def good(form: str, chance: random.Random) -> bytes:
    """One message that is as it should be."""
    number = chance.randint(-5, 300)
    if form == "json":
        value: dict[str, Any] = {
            "a": number,
            "s": "é}{\n"[: number % 5],
            "x": number / 7,
            "l": [number],
            "o": {"k": "v"},
        }
        value |= {f"new{number % 9}": number} if chance.random() < 0.1 else {}
        return json.dumps(value, indent=chance.choice([None, 1]), ensure_ascii=chance.random() < 0.5).encode()
    if form == "csv":
        return chance.choice(["{0},x,0.5", '{0},"x,\n""{0}""",\n', "{0},,1e3\r\n"]).format(number).encode()
    if form == "avro":
        which = chance.randrange(2)
        values: dict[str, Any] = {"i": number, "s": "x" * (number % 7), "l": [number, None] * (number % 4), "b": True}
        return avro(SCHEMAS[which], values | {"m": {"k": 0.5}, "o": {"x": 1.0}}, which)
    return arrow(arrow_batch(chance), compression=chance.choice([None, None, "zstd", "lz4"]))


def mutated(data: bytes, tokens: list[bytes], chance: random.Random) -> bytes:
    for _ in range(chance.choice([0, 0, 1, 1, 2, 5])):
        start = chance.randint(0, len(data))
        what = chance.random()
        if what < 0.4:
            data = data[:start] + bytes([chance.randrange(256)]) + data[start + 1 :]
        elif what < 0.7:
            token = chance.choice(tokens)
            data = data[:start] + token + data[start + chance.choice([0, len(token)]) :]
        elif what < 0.85:
            data = data[:start] + data[start + chance.choice([1, 4, 8]) :]
        else:
            stop = chance.randint(start, len(data))
            data = data[:stop] + data[start:]
    return data


def main(form: str, seed: int, batches: int) -> None:
    options = DecoderOptions(format=form, columns=["i", "s", "x"] if form == "csv" else None, max_message_bytes=1 << 20)
    schemas: Callable[[int], str] = dict(enumerate(map(json.dumps, SCHEMAS))).__getitem__
    rows = faults = 0
    for batch in range(batches):
        chance = random.Random(f"{form} {seed} {batch}")
        decoder = make_decoder(options, schemas=schemas)
        decoder.infer([good(form, chance) for _ in range(2)])
        messages: list[bytes | None] = [mutated(good(form, chance), TOKENS[form], chance) for _ in range(12)]
        done = check(options, decoder, messages, schemas)
        for index, found in rows_of(done).items():
            for row in found:
                if form == "json":
                    check_json(messages[index] or b"", row, done.batch.schema)
                elif form == "csv":
                    check_csv(messages[index] or b"", row, done.batch.schema)
        rows += done.batch.num_rows
        faults += len(done.faults)
    print(json.dumps({"rows": rows, "faults": faults}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
