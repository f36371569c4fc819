"""Where the datasource `kafka` starts and ends, and what a resumed run goes on with."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from kafka_broker import Broker, Record
from kafka_collecting import (
    PATIENCE,
    numbered,
    opened,
    so_many,
    to_the_end,
)
from kafka_proxy import Proxy

from penrose_host.contracts.datasource import EndOfStream
from penrose_host.errors import SourceError, WrongStream

# -- starts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "first"), [("earliest", [0, 0]), ("latest", [10, 5]), ({"0": 7}, [7, 0]), ({"0": 10, "2": 4}, [10, 4])]
)
def test_a_new_run_starts_where_it_is_told(kafka: Broker, topic: str, start: Any, first: list[int]) -> None:
    if isinstance(start, dict):
        start = {f"{topic}/{number}": offset for number, offset in start.items()}
    with opened(kafka.address, topic, start=start, end="now") as source:
        found = to_the_end(source).offsets()
    expected = {f"{topic}/0": list(range(first[0], 10)), f"{topic}/2": list(range(first[1], 5))}
    assert found == {name: offsets for name, offsets in expected.items() if offsets}


def test_times_are_where_a_run_starts_and_ends(kafka: Broker, proxy: Proxy) -> None:
    topic = kafka.create_topic("times", 2)
    stamps = [1_700_000_000_000 + 1000 * n for n in range(10)]
    kafka.produce(topic, [Record(b'{"n": %d}' % n, partition=0, timestamp=at) for n, at in enumerate(stamps)])
    proxy.answer_times(topic, 0, stamps)
    proxy.answer_times(topic, 1, [])
    # 22:13:23 and a microsecond: the first message at or after it is that of :24.
    with opened(
        proxy.address, topic, start="2023-11-14T22:13:23.000001Z", end="2023-11-14T22:13:27Z", discover="1s"
    ) as source:
        assert to_the_end(source).values() == [4, 5, 6]
    with opened(proxy.address, topic, start="2023-11-14T22:13:26Z", end="2100-01-01") as source:
        assert to_the_end(source).values() == [6, 7, 8, 9]
    with opened(proxy.address, topic, start="1969-12-31T23:59:59.999Z", end="now") as source:
        assert to_the_end(source).values() == list(range(10))
    with opened(proxy.address, topic, start="2100-01-01", end="now") as source:
        assert to_the_end(source).count == 0


def test_offsets_that_are_not_there_are_an_error_that_says_which_are(kafka: Broker, topic: str) -> None:
    with (
        pytest.raises(SourceError, match=r"`datasource\.start` is offset 11 of .*/0, which ends at 10") as caught,
        opened(kafka.address, topic, start={f"{topic}/0": 11}),
    ):
        pass
    assert "from 0 to 10" in (caught.value.hint or "")
    assert (caught.value.partition, caught.value.offset) == (f"{topic}/0", 11)
    with pytest.raises(WrongStream, match="offset 11"), opened(kafka.address, topic, {f"{topic}/0": 11}):
        pass


@pytest.mark.parametrize("place", ["start", "end"])
@pytest.mark.parametrize("name", ["{}/3", "{}/x", "{}", "other/0"])
def test_partitions_that_are_not_there_are_named(kafka: Broker, topic: str, place: str, name: str) -> None:
    name = name.format(topic)
    with pytest.raises(SourceError) as caught, opened(kafka.address, topic, **{place: {name: 1}}):
        pass
    assert f"`datasource.{place}` names {name}," in caught.value.message
    assert f"{topic}/0" in (caught.value.hint or "")


def test_a_bound_that_names_another_partition_says_so(kafka: Broker, topic: str) -> None:
    with (
        pytest.raises(SourceError, match=r"`until\.stream` names other/0"),
        opened(kafka.address, topic, bound={"other/0": 1}),
    ):
        pass


def test_offsets_that_expired_are_an_error_or_passed_over(kafka: Broker) -> None:
    topic = kafka.create_topic("expired")
    kafka.produce(topic, numbered(10))
    kafka.produce(topic, numbered(10, 10))
    kafka.expire(topic, 0, 10)
    with (
        pytest.raises(SourceError, match=r"the messages 3 to 9 any more.*left are 10 to 19") as caught,
        opened(kafka.address, topic, {f"{topic}/0": 3}),
    ):
        pass
    assert "expired=skip" in (caught.value.hint or "")
    for position, start in (({f"{topic}/0": 3}, "earliest"), (None, {f"{topic}/0": 3})):
        with opened(kafka.address, topic, position, start=start, expired="skip", end="now") as source:
            assert to_the_end(source).values() == list(range(10, 20))


# -- resume ---------------------------------------------------------------------------------------


def test_what_arrives_between_two_lives_that_start_at_latest_is_not_lost(kafka: Broker) -> None:
    topic = kafka.create_topic("quiet", 2)
    kafka.produce(topic, numbered(3))
    with opened(kafka.address, topic, start="latest") as source:
        assert source.read(10, 0.1) is None
        stamps = dict(source.stamps())
    assert stamps.keys() == {f"{topic}/0", f"{topic}/1"}
    kafka.produce(topic, numbered(4, 3) + numbered(2, 50, 1))
    with opened(kafka.address, topic, stamps=stamps, start="latest", end="now") as source:
        assert to_the_end(source).offsets() == {f"{topic}/0": [3, 4, 5, 6], f"{topic}/1": [0, 1]}
        assert json.loads(source.stamps()[f"{topic}/0"])["start"] == 3


def test_a_position_names_some_partitions_and_stamps_tell_of_the_others(kafka: Broker, topic: str) -> None:
    with opened(kafka.address, topic, start={f"{topic}/2": 3}) as source:
        so_many(source, 12)
        stamps = dict(source.stamps())
    with opened(kafka.address, topic, {f"{topic}/0": 8}, stamps, start="latest", end="now") as source:
        assert to_the_end(source).offsets() == {f"{topic}/0": [8, 9], f"{topic}/2": [3, 4]}


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"cluster": 1}', '{"cluster": "", "start": "x"}'])
def test_a_stamp_of_something_else_is_refused(kafka: Broker, topic: str, text: str) -> None:
    with pytest.raises(WrongStream, match=f"{topic}/0"), opened(kafka.address, topic, stamps={f"{topic}/0": text}):
        pass


def test_another_cluster_and_a_partition_that_is_gone_are_refused(kafka: Broker, topic: str) -> None:
    with (
        pytest.raises(SourceError, match="of the cluster elsewhere"),
        opened(kafka.address, topic, stamps={f"{topic}/0": '{"cluster": "elsewhere", "start": 0}'}),
    ):
        pass
    with (
        pytest.raises(SourceError, match=f"{topic}/7 was read before"),
        opened(kafka.address, topic, stamps={f"{topic}/7": '{"cluster": "", "start": 0}'}),
    ):
        pass


def test_two_topics_keep_their_partitions_apart(kafka: Broker) -> None:
    one, two = kafka.create_topic("one", 2), kafka.create_topic("two", 3)
    for number, topic in enumerate((one, two)):
        kafka.produce(topic, [r for p in range(2) for r in numbered(30, number * 1000 + p * 100, p)])
    with opened(kafka.address, [one, two], end="now", metadata={"topic": "of", "partition": "part"}) as source:
        read = to_the_end(source, max_rows=7)
    assert read.longest <= 7
    for number, topic in enumerate((one, two)):
        for p in range(2):
            rows = read.rows[f"{topic}/{p}"]
            assert [row["n"] for row in rows] == list(range(number * 1000 + p * 100, number * 1000 + p * 100 + 30))
            assert {(row["of"], row["part"]) for row in rows} == {(topic, p)}


def test_a_topic_that_appears_under_an_expression_is_read_from_its_beginning(kafka: Broker) -> None:
    stem = kafka.topic_name("grows")
    first = kafka.create_topic(f"{stem}-a")
    kafka.create_topic("other-" + stem)
    kafka.produce(first, numbered(3))
    with opened(kafka.address, f"^{stem}", start="latest", discover="100ms") as source:
        assert source.partitions() == [f"{first}/0"]
        assert source.read(10, 0.1) is None
        second = kafka.create_topic(f"{stem}-b", 2)
        kafka.produce(second, numbered(4, 10) + numbered(2, 20, 1))
        deadline = time.monotonic() + PATIENCE
        while len(names := source.partitions()) < 3:
            assert time.monotonic() < deadline
        source.open(dict.fromkeys(names))
        assert so_many(source, 6).values() == [10, 11, 12, 13, 20, 21]
        stamps = dict(source.stamps())
    assert stamps.keys() == {f"{first}/0", f"{second}/0", f"{second}/1"}
    # And one that appears between two lives, whatever `start` says.
    third = kafka.create_topic(f"{stem}-c")
    kafka.produce(third, numbered(2, 30))
    position = {f"{second}/0": 4, f"{second}/1": 2}
    with opened(kafka.address, f"^{stem}", position, stamps, start="latest", end="now") as source:
        assert to_the_end(source).values() == [30, 31]


def test_an_expression_means_neither_internal_topics_nor_the_run_s_own_letters(kafka: Broker) -> None:
    stem = kafka.topic_name("meant")
    topic, dead, inner = (kafka.create_topic(f"{before}{stem}{behind}") for before, behind in
                          (("", "-a"), ("", "-dead"), ("__", "")))  # fmt: skip
    options = {"discover": "1s", "dead_letter_topic": dead}
    with opened(kafka.address, f"^.*{stem}", **options) as source:
        assert source.partitions() == [f"{topic}/0"]
    with opened(kafka.address, f"^__{stem}") as source:
        assert source.partitions() == [f"{inner}/0"]


def test_an_expression_that_means_nothing_is_an_error(kafka: Broker) -> None:
    with pytest.raises(SourceError, match=r"no topic of .* matches"), opened(kafka.address, "^nothing-is-called-so$"):
        pass


# -- ends -----------------------------------------------------------------------------------------


def test_the_end_is_what_is_there_as_the_run_starts(kafka: Broker, topic: str) -> None:
    with opened(kafka.address, topic, end="now") as source:
        kafka.produce(topic, numbered(5, 10) + numbered(5, 0, 1))
        read = to_the_end(source)
        assert set(source.ended()) == {f"{topic}/{number}" for number in range(3)}
    assert {name: len(offsets) for name, offsets in read.offsets().items()} == {f"{topic}/0": 10, f"{topic}/2": 5}


def test_the_end_is_an_offset_by_partition_and_of_the_others_what_is_there(kafka: Broker, topic: str) -> None:
    with opened(kafka.address, topic, end={f"{topic}/0": 4}) as source:
        assert to_the_end(source, max_rows=3).offsets() == {f"{topic}/0": [0, 1, 2, 3], f"{topic}/2": [0, 1, 2, 3, 4]}


@pytest.mark.parametrize("end", [0, 3])
def test_an_end_before_the_start_is_the_end_at_once(kafka: Broker, topic: str, end: int) -> None:
    with opened(kafka.address, topic, {f"{topic}/0": 3, f"{topic}/2": 5}, end={f"{topic}/0": end}) as source:
        with pytest.raises(EndOfStream):
            source.read(10, 0.1)
        assert source.lag().rows == 0


def test_an_empty_topic_ends_at_once(kafka: Broker) -> None:
    with opened(kafka.address, kafka.create_topic("empty", 4), end="now") as source, pytest.raises(EndOfStream):
        source.read(10, 0.1)


def test_the_first_of_two_bounds_is_the_end(kafka: Broker, topic: str) -> None:
    part = f"{topic}/0"
    for end, bound in (({part: 4}, "now"), ("now", {part: 4}), ({part: 4}, {part: 8}), ({part: 8}, {part: 4})):
        with opened(kafka.address, topic, end=end, bound=bound) as source:
            assert to_the_end(source).offsets()[part] == [0, 1, 2, 3]


def test_a_bound_ends_an_endless_stream_for_this_run(kafka: Broker, topic: str) -> None:
    with opened(kafka.address, topic, bound="now") as source:
        kafka.produce(topic, numbered(5, 10))
        assert to_the_end(source).count == 15


def test_a_gap_before_the_bound_does_not_hide_it(kafka: Broker) -> None:
    topic = kafka.create_topic("gap")
    kafka.produce(topic, numbered(5))
    kafka.produce(topic, numbered(5, 5))
    kafka.expire(topic, 0, 5)
    # What the bound is before does not exist any more, nor what is in front of it.
    with opened(kafka.address, topic, end={f"{topic}/0": 3}, expired="skip") as source:
        assert to_the_end(source).count == 0


@pytest.mark.parametrize("tombstones", ["bad", "ignore"])
def test_tombstones_at_the_end_are_not_waited_for(kafka: Broker, tombstones: str) -> None:
    topic = kafka.create_topic("tombs")
    kafka.produce(topic, [*numbered(3), Record(None, key=b"k"), Record(None)])
    decoder = {"format": "json", "tombstones": tombstones}
    with opened(kafka.address, topic, end="now", decoder=decoder, metadata={"key": "k"}) as source:
        read = to_the_end(source)
    assert read.values() == [0, 1, 2]
    assert [(r.offset, r.raw) for r in read.rejects] == ([(3, b""), (4, b"")] if tombstones == "bad" else [])
