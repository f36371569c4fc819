"""Messages → Arrow columns: the decoders beside a loop over messages, in one run.

    python tests/benchmarks/bench_decoders.py [--messages 10000] [--repeat 15]

JSON: batches of flat events of 12 fields, about 250 bytes each. A peer decodes each message with `json.loads` or
`orjson.loads` and makes a column of each field, whose type it knows, with `pa.array`; it checks nothing else. Ours has
all its checks on: one object a message, UTF-8, no new keys, no number out of range. Avro: the same events; the peer is
`fastavro.schemaless_reader`. CSV: the same events; the peer is Python's `csv`, whose cells Arrow casts.

Contenders work by turns in one process, on messages with the same content, with Python's garbage collector as it is by
default. Printed: the medians, and ours relative to each peer with what is asked for in brackets; nothing is asserted.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import fastavro
import orjson
import pyarrow as pa

from penrose_host.decoding import Decoder, DecoderOptions, make_decoder

TYPES: dict[str, tuple[pa.DataType, Any]] = {
    "event_id": (pa.string(), "string"),
    "user_id": (pa.int64(), "long"),
    "ts": (pa.int64(), "long"),
    "country": (pa.string(), "string"),
    "device": (pa.string(), "string"),
    "page": (pa.string(), "string"),
    "price": (pa.float64(), "double"),
    "quantity": (pa.int64(), "long"),
    "clicked": (pa.bool_(), "boolean"),
    "score": (pa.float64(), "double"),
    "campaign": (pa.string(), ["null", "string"]),
    "position": (pa.int64(), "long"),
}
SCHEMA = pa.schema([(name, kind) for name, (kind, _) in TYPES.items()])
AVRO = {"type": "record", "name": "event", "fields": [{"name": n, "type": kind} for n, (_, kind) in TYPES.items()]}
ASKED = {"json.loads": 5.0, "orjson": 2.0}


def event(number: int, chance: random.Random) -> dict[str, Any]:
    return {
        "event_id": f"{chance.getrandbits(64):016x}",
        "user_id": chance.randrange(10**9),
        "ts": 1_700_000_000_000 + number * 137,
        "country": chance.choice(["DE", "FR", "US", "GB"]),
        "device": chance.choice(["ios", "android", "desktop"]),
        "page": f"/item/{chance.randrange(10**5)}",
        "price": round(chance.random() * 100, 2),
        "quantity": chance.randrange(5),
        "clicked": chance.random() < 0.1,
        "score": chance.random(),
        "campaign": chance.choice([None, "spring", "summer"]),
        "position": chance.randrange(20),
    }


def columns_of(objects: list[dict[str, Any]]) -> pa.RecordBatch:
    """The columns of dictionaries; a key may be missing."""
    arrays = [pa.array([item.get(field.name) for item in objects], field.type) for field in SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def avro_loop(messages: list[bytes], schema: Any) -> pa.RecordBatch:
    return columns_of([fastavro.schemaless_reader(io.BytesIO(message[5:]), schema, None) for message in messages])


def csv_loop(messages: list[str]) -> pa.RecordBatch:
    cells = zip(*(next(csv.reader((message,))) for message in messages), strict=True)
    nulls = (pa.array([cell or None for cell in column], pa.string()) for column in cells)
    arrays = [column.cast(field.type) for column, field in zip(nulls, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ready(decoder: Decoder, messages: list[bytes]) -> Callable[[], pa.RecordBatch]:
    decoder.infer(messages[:1000])
    assert not decoder.decode(messages).faults
    return lambda: decoder.decode(messages).batch


def report(what: str, size: float, contenders: dict[str, Callable[[], object]], count: int, repeat: int) -> None:
    """Ours, which comes first, and its peers by turns."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeat):
        for name, work in contenders.items():
            times[name].append(seconds(work))
    ours, *peers = contenders
    print(f"{what} · {count:,} messages of {size:.0f} bytes")
    for name in (ours, *peers):
        median = statistics.median(times[name])
        line = f"  {name:<12}{median * 1e3:8.2f} ms · {count / median / 1e3:7.0f} k messages/s"
        if name != ours:
            ratio = statistics.median(peer / own for peer, own in zip(times[name], times[ours], strict=True))
            line += f" · ours {ratio:.2f}×" + (f" (asked: {ASKED[name]:g}×)" if name in ASKED else "")
        print(line, flush=True)


def main() -> None:
    """Each format in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=15)
    options = parser.parse_args()
    chance = random.Random(1)
    count = options.messages
    events = [event(number, chance) for number in range(count)]

    objects = [json.dumps(item).encode() for item in events]
    contenders: dict[str, Callable[[], object]] = {
        "ours": ready(make_decoder(DecoderOptions()), objects),
        "json.loads": lambda: columns_of([json.loads(message) for message in objects]),
        "orjson": lambda: columns_of([orjson.loads(message) for message in objects]),
    }
    report("JSON", sum(map(len, objects)) / count, contenders, count, options.repeat)

    schema = fastavro.parse_schema(AVRO)
    records = []
    for item in events:
        out = io.BytesIO(b"\0\0\0\0\1")
        out.seek(5)
        fastavro.schemaless_writer(out, schema, item)
        records.append(out.getvalue())
    decoder = make_decoder(DecoderOptions(format="avro"), schemas={1: json.dumps(AVRO)}.__getitem__)
    contenders = {"ours": ready(decoder, records), "fastavro": lambda: avro_loop(records, schema)}
    report("Avro", sum(map(len, records)) / count, contenders, count, options.repeat)

    texts = [",".join("" if value is None else str(value) for value in item.values()) for item in events]
    lines = [text.encode() for text in texts]
    types = {field.name: {"double": "float64"}.get(str(field.type), str(field.type)) for field in SCHEMA}
    decoder = make_decoder(DecoderOptions(format="csv", columns=SCHEMA.names, column_types=types))
    contenders = {"ours": ready(decoder, lines), "csv.reader": lambda: csv_loop(texts)}
    report("CSV", sum(map(len, lines)) / count, contenders, count, options.repeat)


if __name__ == "__main__":
    main()
