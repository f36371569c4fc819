"""The synthetic stream: the same rows from anywhere, and something in them to learn."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import ValidationError

from penrose_host import Capability, EndOfStream
from penrose_host.datasources.clickstream.source import ClickstreamSource
from penrose_host.errors import WrongStream

quick = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def make(**options):
    return ClickstreamSource(ClickstreamSource.Options(**options))


def take(source, rows, max_rows=20_000):
    """So many rows of an endless source, as columns."""
    import pyarrow as pa

    source.open(dict.fromkeys(source.partitions()))
    batches, count = [], 0
    while count < rows:
        batches.append(source.read(min(max_rows, rows - count), 1.0).batch)
        count += batches[-1].num_rows
    source.close()
    return pa.Table.from_batches(batches)


@quick
@given(st.integers(0, 60), st.integers(1, 5), st.data())
def test_from_any_position_the_rest_is_the_same(read, rows, partitions, data):
    whole = read(make(rows=rows, partitions=partitions))
    assert sum(map(len, whole.rows.values())) == rows
    names = make(partitions=partitions).partitions()
    starts = {name: data.draw(st.integers(0, len(whole.rows.get(name, ())))) for name in names}
    rest = read(make(rows=rows, partitions=partitions), starts, max_rows=data.draw(st.integers(1, 30)))
    for name, start in starts.items():
        expected = {offset: row for offset, row in whole.rows.get(name, {}).items() if offset >= start}
        assert rest.rows.get(name, {}) == expected


def test_rows_far_into_the_stream_are_there_at_once():
    far = 10**12
    source = make()
    source.open({"2": far})
    first = source.read(5, 1.0).batch
    again = make()
    again.open({"2": far + 3})
    assert again.read(2, 1.0).batch.to_pylist() == first.to_pylist()[3:]


def test_the_same_options_give_the_same_rows_in_another_process():
    code = (
        "from penrose_host.datasources.clickstream.source import ClickstreamSource as S; s = S(S.Options(seed=7)); "
        "s.open({'1': 5}); print(s.read(3, 1.0).batch.to_pylist())"
    )
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    source = make(seed=7)
    source.open({"1": 5})
    assert other == f"{source.read(3, 1.0).batch.to_pylist()}\n"
    source = make(seed=8)
    source.open({"1": 5})
    assert other != f"{source.read(3, 1.0).batch.to_pylist()}\n"


def test_it_is_endless_unless_rows_are_given():
    assert make().capabilities == {Capability.SEEK, Capability.UNBOUNDED}
    assert make().lag() is None
    bounded = make(rows=10, partitions=3)
    assert bounded.capabilities == {Capability.SEEK}
    assert bounded.source_id == make(partitions=3).source_id != make(partitions=3, drift=2).source_id
    bounded.open(dict.fromkeys(bounded.partitions()))
    assert bounded.lag().rows == 10
    assert bounded.lag().partitions == {"0": 4, "1": 3, "2": 3}
    bounded.read(100, 1.0)
    assert bounded.ended() == {"0"}
    assert bounded.lag().rows == 6


def test_partitions_take_turns_and_paused_ones_are_passed_over():
    source = make(rows=9, partitions=3)
    source.open(dict.fromkeys(source.partitions()))

    def next_name():
        return source.read(2, 1.0).batch["_partition"][0].as_py()

    assert [next_name() for _ in range(4)] == ["0", "1", "2", "0"]
    source.pause(["1", "2"])
    assert source.read(2, 1.0) is None
    source.pause(["1"])
    assert next_name() == "2"
    source.pause([])
    assert next_name() == "1"
    with pytest.raises(EndOfStream):
        source.read(2, 1.0)


@pytest.mark.parametrize("start", [{"4": 0}, {"x": 0}, {"0": -1}, {"0": 4}])
def test_a_position_that_cannot_be_is_refused(start):
    with pytest.raises(WrongStream):
        make(rows=12).open(start)


@pytest.mark.parametrize(
    "options", [{"rows": -1}, {"partitions": 0}, {"label_delay": "soon"}, {"seed": -1}, {"nonsense": 1}]
)
def test_options_that_cannot_be_are_refused_at_once(options):
    with pytest.raises(ValidationError):
        make(**options)


def test_the_columns_are_what_the_options_say():
    table = take(make(rows=100_000, rows_per_second=200, label_delay="2m", null_share=0.1), 100_000)
    assert [f"{field.name} {field.type}" for field in table.schema][:9] == [
        "event_time timestamp[us, tz=UTC]",
        "user int64",
        "item int64",
        "category string",
        "hour int8",
        "price float",
        "history list<item: int64>",
        "click int8",
        "click_known_at timestamp[us, tz=UTC]",
    ]
    time = table["event_time"].cast("int64").to_numpy()
    for name in "0123":
        own = time[np.asarray(table["_partition"].cast("string")) == name]
        assert (np.diff(own) >= 0).all()
    assert time.max() - time.min() == pytest.approx(500e6, rel=0.01)
    assert table["click"].null_count / 100_000 == pytest.approx(0.1, abs=0.005)
    delay = table["click_known_at"].cast("int64").to_numpy() - time
    assert delay.min() >= 0
    assert delay.mean() / 60e6 == pytest.approx(2, rel=0.05)
    assert all(0 <= len(history) <= 8 for history in table["history"][:1000].to_pylist())
    assert table["click"].drop_null().to_numpy().mean() == pytest.approx(0.3, abs=0.1)


def test_ids_follow_zipf_and_new_ones_keep_appearing():
    table = take(make(rows=100_000, users=1000, births=0.02), 100_000).sort_by("event_time")
    users = table["user"].to_numpy()
    seen = [len(np.unique(users[: n * 20_000])) for n in range(1, 6)]
    assert np.all(np.diff(seen) > 200)
    assert users.max() < 1000 + 0.02 * 100_000
    counts = [count for _, count in Counter(users.tolist()).most_common(100)]
    assert 5 < counts[0] / counts[9] < 20
    assert 3 < counts[9] / counts[99] < 30


def auc(scores, labels):
    ranks = np.argsort(np.argsort(scores, kind="stable")) + 1.0
    positive = int(labels.sum())
    return (ranks[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive))


def learn(table, first):
    """AUC of logistic regression by Adagrad on the rows from `first` on, each scored before it is trained on."""
    table = table.filter(table["click"].is_valid())
    labels = table["click"].to_numpy()
    width = 1 << 18
    columns = []
    for number, name in enumerate(["user", "item", "category", "hour"]):
        codes = np.asarray(table[name].combine_chunks().dictionary_encode().indices, dtype=np.int64)
        columns.append((codes * 4 + number) % width)
    codes = np.digitize(table["price"].to_numpy(), [5, 8, 12, 20, 30]) * 4 + width
    ids = np.stack([*columns, codes], axis=1)
    weights, squares = np.zeros(width + 64), np.full(width + 64, 1.0)
    scores = np.zeros(len(labels))
    for start in range(0, len(labels), 256):
        rows = ids[start : start + 256]
        scores[start : start + 256] = 1 / (1 + np.exp(-weights[rows].sum(axis=1)))
        error = scores[start : start + 256] - labels[start : start + 256]
        gradient = np.zeros_like(weights)
        np.add.at(gradient, rows, error[:, None])
        squares += gradient**2
        weights -= 0.2 * gradient / np.sqrt(squares)
    return auc(scores[first:], labels[first:])


def test_there_is_something_to_learn():
    assert learn(take(make(), 60_000, max_rows=500), 20_000) > 0.66
