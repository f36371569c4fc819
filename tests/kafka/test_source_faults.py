"""Brokers that go away, hang, come back, and forget: each fault ends in recovery, or in one clear error."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import psutil
import pytest
from fault_jobs import ROWS, check_same_end, messages, predictions, write_job
from fault_runs import Workplace
from kafka_broker import Broker, Record
from kafka_proxy import Proxy
from kafka_reading import make_source, numbered_records, reading
from waiting_support import wait_until

from penrose_host.errors import SourceError
from penrose_kafka.source import topics

pytestmark = pytest.mark.faults

COUNT = 6000
PARTITIONS = 3
#: Come back quickly, and fetch little ahead, so that there is a middle to cut: batches are small too.
CLIENT = {
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 200,
    "fetch.error.backoff.ms": 20,
    "fetch.message.max.bytes": 1000,
    "queued.min.messages": 1,
}
BATCHES = {"batch.num.messages": 100, "linger.ms": 1000}


def test_a_broker_that_goes_away_and_comes_back_costs_no_row(kafka: Broker, proxy: Proxy) -> None:
    topic = kafka.create_topic("away", PARTITIONS)
    kafka.produce(topic, numbered_records(COUNT, PARTITIONS))
    with reading(make_source(proxy.address, topic, CLIENT, discover="100ms")) as rows:
        rows.until(lambda: rows.rows >= 1000, max_rows=100)
        for more in (COUNT, 2 * COUNT):
            proxy.down()
            kafka.produce(topic, numbered_records(COUNT, PARTITIONS, first=more))
            silent = time.monotonic()
            rows.until(lambda since=silent: time.monotonic() - since > 1.5, max_rows=100)
            assert rows.rows < COUNT + more
            proxy.go_on()
            rows.until_rows(COUNT + more)
        assert sorted(rows.numbers) == list(range(3 * COUNT))


@pytest.mark.parametrize("kind", ["mock", "tansu"])
def test_a_broker_that_is_stopped_and_goes_on_costs_no_row(kind: str) -> None:
    with Broker(kind) as broker:
        topic = broker.create_topic("stopped", PARTITIONS)
        broker.produce(topic, numbered_records(COUNT, PARTITIONS))
        with reading(make_source(broker.address, topic, CLIENT, discover="100ms")) as rows:
            rows.until(lambda: rows.rows >= 1000, max_rows=100)
            broker.stop()
            silent = time.monotonic()
            rows.until(lambda: time.monotonic() - silent > 1.5, max_rows=100)
            broker.go_on()
            rows.until_rows(COUNT)
            broker.produce(topic, numbered_records(COUNT, PARTITIONS, first=COUNT))
            rows.until_rows(2 * COUNT)
        assert sorted(rows.numbers) == list(range(2 * COUNT))


def test_connections_cut_in_mid_fetch_cost_no_row_and_double_none(kafka: Broker, proxy: Proxy) -> None:
    topic = kafka.create_topic("cut", PARTITIONS)
    kafka.produce(topic, numbered_records(COUNT, PARTITIONS, size=100), **BATCHES)
    with reading(make_source(proxy.address, topic, CLIENT, end="now")) as rows:
        for number in range(6):
            proxy.cut_after(20_000 + 1_111 * number)
            rows.until(lambda before=rows.rows: rows.rows >= before + 300, max_rows=300)
            proxy.wait_for_cut()
        rows.to_the_end()
    assert sorted(rows.numbers) == list(range(COUNT))
    assert proxy.connections > 6


def test_no_broker_for_longer_than_patience_is_one_error(kafka: Broker, proxy: Proxy) -> None:
    topic = kafka.create_topic("patience", 1)
    kafka.produce(topic, numbered_records(100))
    for fault in (proxy.down, proxy.hang):
        with reading(make_source(proxy.address, topic, discover="100ms", patience="2s")) as rows:
            rows.until_rows(100)
            fault()
            began = time.monotonic()
            with pytest.raises(SourceError) as caught:
                rows.until(lambda: False)
            assert 1.5 < time.monotonic() - began < 12
        proxy.go_on()
        told = str(caught.value)
        assert proxy.address in told
        assert "has answered for " in told
        assert "`datasource.patience`" in told
        assert "start again" in told


def test_a_topic_that_is_silent_after_a_cut_is_no_broker_that_is_away(kafka: Broker, proxy: Proxy) -> None:
    topic = kafka.create_topic("quiet", 1)
    kafka.produce(topic, numbered_records(100))
    for end in (None, {f"{topic}/0": 200}):
        with reading(make_source(proxy.address, topic, patience="3s", discover="1h", end=end)) as rows:
            rows.until_rows(100)
            proxy.down()
            since = time.monotonic()
            rows.until(lambda since=since: time.monotonic() - since > 0.7)
            proxy.go_on()
            back = time.monotonic()
            rows.until(lambda back=back: time.monotonic() - back > 3.5)
    kafka.produce(topic, numbered_records(100, first=100))


def test_no_broker_at_the_start_is_an_error_within_bounded_time(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert topics.RETRY_SECONDS + topics.ASK_SECONDS <= 60
    monkeypatch.setattr(topics, "RETRY_SECONDS", 1.0)
    monkeypatch.setattr(topics, "ASK_SECONDS", 1.0)
    proxy.down()
    began = time.monotonic()
    source = make_source(proxy.address, "any")
    with pytest.raises(SourceError) as caught:
        source.partitions()
    source.close()
    assert time.monotonic() - began < 10
    assert f"no broker of {proxy.address} answers" in str(caught.value)
    assert "refused" in str(caught.value)
    assert "datasource.brokers" in str(caught.value)


# -- offsets that are gone -----------------------------------------------------------------------


def filled(kafka: Broker) -> str:
    """A topic of one partition, with 400 messages in batches of 100."""
    topic = kafka.create_topic("expired", 1)
    kafka.produce(topic, numbered_records(400), **BATCHES)
    return topic


def test_a_position_that_has_expired_is_an_error_that_says_what_is_left(kafka: Broker) -> None:
    topic = filled(kafka)
    kafka.expire(topic, 0, 200)
    with pytest.raises(SourceError) as caught, reading(make_source(kafka.address, topic), {f"{topic}/0": 150}):
        pass
    told = str(caught.value)
    assert f"{topic}/0 does not hold the messages 150 to 199 any more" in told
    assert "left are 200 to 399" in told
    assert "datasource.expired=skip" in told
    assert (caught.value.partition, caught.value.offset) == (f"{topic}/0", 150)


def test_a_position_that_has_expired_is_skipped_where_that_is_wanted(
    kafka: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    topic = filled(kafka)
    kafka.expire(topic, 0, 200)
    with caplog.at_level(logging.WARNING, "penrose.kafka"):
        source = make_source(kafka.address, topic, expired="skip")
        with reading(source, {f"{topic}/0": 150}) as rows:
            rows.next[f"{topic}/0"] = 200
            rows.until_rows(200)
    assert rows.numbers == list(range(200, 400))
    [record] = [record for record in caplog.records if "expired" in record.message]
    assert "50 messages expired" in record.message


def test_offsets_that_expire_under_the_reader_are_an_error(kafka: Broker, proxy: Proxy) -> None:
    topic = filled(kafka)
    with reading(make_source(proxy.address, topic, CLIENT)) as rows:
        rows.until(lambda: rows.rows >= 10, max_rows=10)
        proxy.hang()
        kafka.expire(topic, 0, 300)
        proxy.go_on()
        with pytest.raises(SourceError) as caught:
            rows.until(lambda: rows.rows > 399)
        gone = rows.next[f"{topic}/0"]
    told = str(caught.value)
    assert f"{topic}/0 does not hold the messages {gone} to 299 any more" in told
    assert "left are 300 to 399" in told
    assert "datasource.expired=skip" in told
    assert caught.value.offset == gone
    assert rows.numbers == list(range(gone))


def test_offsets_that_expire_under_the_reader_are_skipped_where_that_is_wanted(
    kafka: Broker, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    topic = filled(kafka)
    source = make_source(proxy.address, topic, CLIENT, expired="skip", end="now")
    with caplog.at_level(logging.WARNING, "penrose.kafka"), reading(source) as rows:
        rows.until(lambda: rows.rows >= 10, max_rows=10)
        proxy.hang()
        kafka.expire(topic, 0, 300)
        proxy.go_on()
        rows.gaps = True
        rows.to_the_end()
    gone = next(number for number, found in enumerate(rows.numbers) if number != found)
    assert 10 <= gone < 300
    assert rows.numbers == [*range(gone), *range(300, 400)]
    assert rows.next[f"{topic}/0"] == 400
    [record] = [record for record in caplog.records if "expired" in record.message]
    assert f"{300 - gone} messages expired" in record.message


# -- topics --------------------------------------------------------------------------------------


def test_a_topic_that_is_not_there_is_an_error_that_names_close_ones(kafka: Broker) -> None:
    topic = kafka.create_topic("flights")
    source = make_source(kafka.address, topic[:-1] + "zz")
    with pytest.raises(SourceError, match="have no topic") as caught:
        source.partitions()
    source.close()
    assert topic in str(caught.value)
    assert "datasource.topics" in str(caught.value)


def test_a_pattern_that_matches_nothing_is_an_error(kafka: Broker) -> None:
    source = make_source(kafka.address, "^nothing-[0-9]+-of-this-kind$")
    with pytest.raises(SourceError, match=r"matches \^nothing-\[0-9\]\+-of-this-kind\$"):
        source.partitions()
    source.close()


def test_a_topic_that_the_brokers_do_not_know_any_more_is_an_error() -> None:
    with Broker("mock") as broker:
        topic = broker.create_topic("gone")
        broker.produce(topic, numbered_records(10))
        with reading(make_source(broker.address, topic, discover="100ms")) as rows:
            rows.until_rows(10)
            broker.server.order("refuse_topic", topic, 3)  # type: ignore[attr-defined]
            with pytest.raises(SourceError, match=topic) as caught:
                rows.until(lambda: False)
    assert "datasource.topics" in str(caught.value)


def test_a_partition_that_is_added_is_read_from_its_beginning(kafka: Broker, proxy: Proxy) -> None:
    topic = kafka.create_topic("grows", 3)
    proxy.show_partitions(topic, 1)
    kafka.produce(topic, numbered_records(30, 3))
    with reading(make_source(proxy.address, topic, start="latest", discover="100ms")) as rows:
        assert list(rows.next) == [f"{topic}/0"]
        rows.next[f"{topic}/0"] = 10
        kafka.produce(topic, numbered_records(5, first=100))
        rows.until_rows(5)
        proxy.show_partitions(topic, 3)
        rows.until_rows(25)
    assert rows.next == {f"{topic}/0": 15, f"{topic}/1": 10, f"{topic}/2": 10}


def test_memory_stays_flat_while_the_reader_is_slow(kafka: Broker) -> None:
    partitions, size = 16, 4000
    topic = kafka.create_topic("heavy", partitions)
    count = partitions * 1000
    for first in range(0, count, 4000):
        kafka.produce(topic, numbered_records(4000, partitions, first=first, size=size))
    process = psutil.Process()
    decoder = {"format": "raw"}
    with reading(make_source(kafka.address, topic, decoder=decoder, prefetch_bytes=4 << 20, end="now")) as rows:
        rows.until(lambda: rows.rows >= 100, max_rows=100)
        before = most = process.memory_info().rss
        while rows.step(max_rows=100):
            most = max(most, process.memory_info().rss)
    assert rows.rows == count
    assert most - before < 24 << 20, f"{(most - before) >> 20} MiB more, of {(count * size) >> 20} in the topic"


def test_a_run_whose_connections_are_cut_ends_in_the_same_bytes(kafka: Broker, proxy: Proxy, tmp_path: Path) -> None:
    topic = kafka.create_topic("run", PARTITIONS)
    records = [Record(message, partition=row % PARTITIONS) for row, message in enumerate(messages(0))]
    kafka.produce(topic, records, **BATCHES)
    workplace = Workplace(tmp_path / "place")

    def job(name: str, address: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        source = {"brokers": address, "topics": topic, "end": "now", "group": f"{topic}-{name}", "client": CLIENT}
        changes = {"datasource": {"name": "kafka", **source}, "executor": {"name": "counting", "rows": ROWS * 4}}
        return write_job(folder / "job.yaml", tmp_path, folder / "run", order="event_time", **changes)

    whole, cut = job("whole", kafka.address), job("cut", proxy.address)
    workplace.penrose("run", whole).check()
    cuts = 0
    with workplace.start("run", cut) as life:
        while life.process.poll() is None and cuts < 6:
            proxy.cut_after(50_000)
            wait_until(lambda: proxy.was_cut or life.process.poll() is not None)
            cuts += proxy.was_cut
        life.end().check()
    assert cuts >= 3
    check_same_end(whole.parent / "run", cut.parent / "run")
    assert predictions(cut.parent / "run").num_rows == ROWS
