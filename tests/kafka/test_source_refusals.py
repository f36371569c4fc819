"""What others refuse the datasource: logins, schemas, large messages; and secrets, which nobody gets to see."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest
import yaml
from fault_runs import Workplace
from kafka_broker import Broker, Record
from kafka_reading import make_source, numbered_records, reading
from schema_server import SchemaServer

from penrose_host.contracts.batch import Reject
from penrose_host.errors import SinkError, SourceError

pytestmark = pytest.mark.faults

SECRET = "hunter2-is-not-a-secret"
LOGIN = {
    "security.protocol": "sasl_plaintext",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "somebody",
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Real processes of `penrose`."""
    return Workplace(tmp_path_factory.mktemp("refusals"))


def write_job(folder: Path, datasource: dict[str, Any]) -> Path:
    """A job that reads `n`, and counts."""
    job = {
        "name": "refused",
        "datasource": {"name": "kafka", **datasource},
        "executor": {"name": "counting", "rows": 0},
        "features": {
            "event_time": {"column": "n", "unit": "s"},
            "numeric": ["n"],
            "labels": [{"name": "y", "column": "n", "at_least": 50}],
        },
        "run_dir": str(folder / "run"),
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


def nothing_leaks(folder: Path, *texts: str) -> None:
    """No file of a run, and nothing it printed, holds the secret."""
    assert not any(SECRET in text for text in texts)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_login_that_is_refused_is_one_error_without_the_secret(workplace: Workplace, tmp_path: Path) -> None:
    with Broker("tansu", authentication=True) as broker:
        client = {**LOGIN, "sasl.password": {"env": "THE_PASSWORD"}}
        job = write_job(tmp_path, {"brokers": broker.address, "topics": "any", "client": client})
        began = time.monotonic()
        ended = workplace.penrose("run", job, THE_PASSWORD=SECRET).check(4)
        assert time.monotonic() - began < 20
    assert "refused the connection" in ended.stderr
    assert "sasl.password" in ended.stderr
    nothing_leaks(tmp_path, ended.stderr, ended.stdout)


def test_secrets_are_in_nothing_that_a_run_prints_or_writes(
    kafka: Broker, workplace: Workplace, tmp_path: Path
) -> None:
    topic = kafka.create_topic("secrets")
    kafka.produce(topic, numbered_records(200))
    place = tmp_path.parent / f"{tmp_path.name}-secret"
    place.write_text(SECRET + "\n")
    client = {"sasl.password": {"env": "THE_PASSWORD"}, "ssl.key.password": {"file": str(place)}, "sasl.username": "u"}
    source = {"brokers": kafka.address, "topics": topic, "client": client, "end": "now", "group": f"g-{topic}"}
    job = write_job(tmp_path, source)
    tried = workplace.penrose("run", job, "--dry-run", THE_PASSWORD=SECRET).check()
    ran = workplace.penrose("run", job, THE_PASSWORD=SECRET).check()
    assert (tmp_path / "run" / "job.yaml").exists()
    assert "THE_PASSWORD" in (tmp_path / "run" / "job.yaml").read_text()
    assert list((tmp_path / "run").rglob("manifest.json"))
    nothing_leaks(tmp_path, tried.stderr, tried.stdout, ran.stderr, ran.stdout)
    # An option that librdkafka refuses, because the secret is no such value.
    wrong = write_job(tmp_path, {**source, "client": {"sasl.oauthbearer.token.endpoint.url": {"env": "THE_PASSWORD"}}})
    refused = workplace.penrose("run", wrong, "--run-dir", tmp_path / "other", THE_PASSWORD=SECRET)
    missing = workplace.penrose("run", job, "--run-dir", tmp_path / "third").check(2)
    assert "THE_PASSWORD is not set" in missing.stderr
    nothing_leaks(tmp_path, refused.stderr, refused.stdout, missing.stderr)


# -- schemas -------------------------------------------------------------------------------------

FIRST = {"type": "record", "name": "Click", "fields": [{"name": "n", "type": "long"}]}
SECOND = {
    "type": "record",
    "name": "Click",
    "fields": [{"name": "n", "type": "long"}, {"name": "city", "type": ["null", "string"], "default": None}],
}
#: Come back quickly from answers that may be repeated.
REGISTRY_CLIENT = {"max.retries": 1, "retries.wait.ms": 1}


def framed(number: int, schema: dict[str, Any], row: dict[str, Any]) -> Record:
    """A message as a Confluent serializer makes it."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, row)
    return Record(struct.pack(">bI", 0, number) + out.getvalue())


@pytest.fixture
def clicks(kafka: Broker) -> str:
    """Messages of two versions of a schema."""
    topic = kafka.create_topic("avro")
    kafka.produce(topic, [framed(7, FIRST, {"n": number}) for number in range(100)])
    kafka.produce(topic, [framed(8, SECOND, {"n": 100 + n, "city": None if n % 2 else "Bonn"}) for n in range(100)])
    return topic


@pytest.fixture
def registry() -> Iterator[SchemaServer]:
    with SchemaServer({7: FIRST, 8: SECOND}) as server:
        yield server


def avro(kafka: Broker, topic: str, url: str, **client: Any) -> Any:
    registry = {"url": url, "client": {**REGISTRY_CLIENT, **client}}
    return make_source(kafka.address, topic, decoder={"format": "avro"}, registry=registry, end="now")


def test_two_versions_of_a_schema_become_rows(kafka: Broker, clicks: str, registry: SchemaServer) -> None:
    seen: list[Any] = []
    with reading(avro(kafka, clicks, registry.url)) as rows:
        source, read = rows.source, rows.source.read
        source.read = lambda *asked: seen.append(read(*asked)) or seen[-1]  # type: ignore[method-assign]
        rows.to_the_end(max_rows=30)
    assert rows.numbers == list(range(200))
    assert registry.asked == 2
    cities = [
        c for chunk in seen if chunk and "city" in chunk.batch.schema.names for c in chunk.batch["city"].to_pylist()
    ]
    assert cities[-100:] == ["Bonn", None] * 50
    assert not rows.rejects


@pytest.mark.parametrize("fault", ["down", "error", "slow", "type"])
def test_a_registry_that_fails_is_one_error_and_the_next_start_goes_on(
    kafka: Broker, clicks: str, registry: SchemaServer, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penrose_kafka.source.registry.TIMEOUT_SECONDS", 0.5)
    told = {"down": "refused", "error": "HTTP 500: broken on purpose", "slow": "imed out|imeout", "type": "PROTOBUF"}
    url = registry.url
    if fault == "down":
        url = "http://127.0.0.1:1"
    elif fault == "error":
        registry.status = 500
    elif fault == "slow":
        registry.answers.clear()
    else:
        registry.schemas = {7: ("syntax = 'proto3';", "PROTOBUF")}
    began = time.monotonic()
    with pytest.raises(SourceError, match=told[fault]) as caught, reading(avro(kafka, clicks, url)) as rows:
        rows.to_the_end()
    assert time.monotonic() - began < 15
    assert url in str(caught.value)
    assert "schema 7" in str(caught.value)
    registry.status, registry.schemas = None, {7: FIRST, 8: SECOND}
    registry.answers.set()
    with reading(avro(kafka, clicks, registry.url)) as rows:
        rows.to_the_end()
    assert rows.numbers == list(range(200))


def test_a_schema_that_the_registry_does_not_have_makes_bad_rows(
    kafka: Broker, clicks: str, registry: SchemaServer
) -> None:
    del registry.schemas[8]
    with reading(avro(kafka, clicks, registry.url)) as rows:
        rows.to_the_end()
    assert rows.numbers == list(range(100))
    assert [reject.offset for reject in rows.rejects] == list(range(100, 200))
    assert {reject.reason for reject in rows.rejects} == {"the schema 8 is not known"}


# -- large messages ------------------------------------------------------------------------------


def test_a_message_above_the_limit_is_a_bad_row(kafka: Broker) -> None:
    topic = kafka.create_topic("large")
    records = numbered_records(10) + numbered_records(1, first=10, size=5000) + numbered_records(10, first=11)
    kafka.produce(topic, records)
    with reading(make_source(kafka.address, topic, decoder={"max_message_bytes": 1000}, end="now")) as rows:
        rows.to_the_end()
    assert rows.numbers == [number for number in range(21) if number != 10]
    [reject] = rows.rejects
    assert (reject.partition, reject.offset) == (f"{topic}/0", 10)
    assert "1000" in reject.reason


def test_a_letter_may_be_as_large_as_a_message_and_larger_ones_are_an_error(kafka: Broker) -> None:
    topic, dead = kafka.create_topic("large"), kafka.create_topic("dead")
    kafka.produce(topic, numbered_records(1))
    source = make_source(kafka.address, topic, dead_letter_topic=dead)
    with reading(source):
        source.dead_letters([Reject(f"{topic}/0", 3, "bad", bytes(1_000_000))])
        assert [len(letter.value()) for letter in kafka.consume(dead)] == [1_000_000]
    client = {"message.max.bytes": 2000}
    source = make_source(kafka.address, topic, client, dead_letter_topic=dead)
    with reading(source), pytest.raises(SinkError, match=f"too large for {dead}"):
        source.dead_letters([Reject(f"{topic}/0", 4, "bad", bytes(3000))])
