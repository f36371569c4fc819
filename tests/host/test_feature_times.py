from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Any

import pyarrow as pa
import pytest
from features_support import T0, chunk, encode, encoder, ids, rejected
from hypothesis import given, settings, strategies as st

UTC = dt.UTC


PARTS = {
    "minute": lambda t: t.minute,
    "hour": lambda t: t.hour,
    "weekday": lambda t: t.weekday(),
    "day": lambda t: (t.date() - dt.date(1970, 1, 1)).days,
    "week": lambda t: t.isocalendar().week,
    "month": lambda t: t.month,
}


@settings(max_examples=50)
@given(
    st.lists(st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2037, 1, 1)), min_size=1, max_size=5),
    st.sampled_from([None, "UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland"]),
)
def test_parts_of_the_event_time_are_those_of_the_calendar(times: list[dt.datetime], zone: str | None) -> None:
    data = chunk({"ts": pa.array(times, pa.timestamp("us"))})
    categorical = [{"name": "f_" + part, "event_time": part} for part in PARTS]
    rows = encode(data, categorical=categorical, time_zone=zone)
    local = [time.replace(tzinfo=UTC).astimezone(zoneinfo.ZoneInfo(zone or "UTC")) for time in times]
    for index, (part, expected) in enumerate(PARTS.items()):
        assert rows.ids[:, index].tolist() == ids("f_" + part, [expected(time) for time in local])


def test_slots_count_from_1970_or_from_midnight() -> None:
    times = [dt.datetime(1969, 12, 31, 23, 45), dt.datetime(2013, 1, 1, 0, 29), dt.datetime(2013, 1, 2, 0, 31)]
    slots = [{"name": "slot", "event_time": "30m"}, {"name": "daily", "event_time": "30m", "of_day": True}]
    rows = encode(chunk({"ts": pa.array(times, pa.timestamp("ms"))}), categorical=slots, crosses=[["slot", "daily"]])
    assert rows.ids[:, 0].tolist() == ids("slot", [-1, 15_706 * 48, 15_707 * 48 + 1])
    assert rows.ids[:, 1].tolist() == ids("daily", [47, 0, 1])
    rows = encode(chunk({"ts": pa.array(times[1:], pa.timestamp("s"))}), categorical=slots, time_zone="Asia/Kolkata")
    assert rows.ids[:, 1].tolist() == ids("daily", [11, 12])


def test_parts_of_times_beyond_the_calendar_are_still_numbers() -> None:
    far = pa.array([(1 << 63) - 1, -(1 << 63), 0], pa.int64()).view(pa.timestamp("us"))
    parts = [{"name": part, "event_time": part} for part in PARTS]
    rows = encode(chunk({"ts": far}), categorical=parts, time_zone="America/New_York")
    assert rows.ids.shape == (3, 6)


@pytest.mark.parametrize(
    ("column", "source"),
    [
        (pa.array([T0 // 1_000_000], pa.timestamp("s")), "ts"),
        (pa.array([T0 // 1000], pa.timestamp("ms", "America/New_York")), "ts"),
        (pa.array([T0], pa.timestamp("us", "UTC")), "ts"),
        (pa.array([T0 * 1000 + 999], pa.timestamp("ns")), "ts"),
        (pa.array([T0 // 1_000_000], pa.int32()), {"column": "ts", "unit": "s"}),
        (pa.array([T0 // 1000], pa.uint64()), {"column": "ts", "unit": "ms"}),
        (pa.array([T0]), {"column": "ts", "unit": "us"}),
        (pa.array([T0 * 1000 + 999]), {"column": "ts", "unit": "ns"}),
        (pa.array(["2013-01-01T10:15:00Z"]), {"column": "ts", "format": "iso8601"}),
        (pa.array(["2013-01-01 10:15"], pa.large_string()), {"column": "ts", "format": "iso8601"}),
        (pa.array(["2013-01-01T05:15:00-05:00"]).dictionary_encode(), {"column": "ts", "format": "iso8601"}),
        (pa.array(["2013-01-01T10:15:00.000000999Z"]), {"column": "ts", "format": "iso8601"}),
        (pa.array(["20130101T101500Z"]), {"column": "ts", "format": "iso8601"}),
    ],
)
def test_the_event_time_is_read_from_every_kind_of_column(column: pa.Array, source: Any) -> None:
    assert encode(chunk({"ts": column}), event_time=source).event_time.tolist() == [T0]


def test_dates_are_their_midnight() -> None:
    for type_ in (pa.date32(), pa.date64()):
        column = pa.array([dt.date(1969, 12, 31), dt.date(2013, 1, 1)], type_)
        assert encode(chunk({"ts": column})).event_time.tolist() == [-86_400_000_000, 1_356_998_400_000_000]


def test_text_times_with_and_without_zone_and_wrong_ones_in_one_column() -> None:
    text = [
        "2013-01-01T10:15:00Z",
        "2013-02-30",
        "2013-01-01 10:15:00",
        None,
        "",
        "soon",
        "2013-01-01T10:15:00,5+00:00",
    ]
    kept, reasons = rejected(chunk({"ts": text}), event_time={"column": "ts", "format": "iso8601"})
    assert kept == [0, 2, 6]
    assert {offset: "is null" in reason for offset, reason in reasons.items()} == {
        1: False,
        3: True,
        4: False,
        5: False,
    }


def test_times_out_of_range_and_null_are_bad_rows() -> None:
    column = pa.array([0, 1 << 62, None, -(1 << 62)], pa.timestamp("s"))
    kept, reasons = rejected(chunk({"ts": column}))
    assert kept == [0]
    assert ["out of range" in reasons[1], "null" in reasons[2], "out of range" in reasons[3]] == [True] * 3
    kept, reasons = rejected(chunk({"ts": pa.nulls(2)}))
    assert (kept, len(reasons)) == ([], 2)
    huge = pa.array([1, 1 << 63], pa.uint64())
    assert rejected(chunk({"ts": huge}), event_time={"column": "ts", "unit": "us"})[0] == [0]


def test_labels_are_known_on_arrival_or_after_a_delay_or_when_a_column_says() -> None:
    data = chunk({"known": pa.array([T0 + 7, T0 - 9, None, None], pa.timestamp("us")), "y": [1.0, 0.0, None, None]})
    times = [T0, T0 + 1, T0 + 2, T0 + 3]
    assert encode(data).known_at.tolist() == times
    assert encoder().labels_on_arrival
    assert encode(data, label_delay="1s").known_at.tolist() == [time + 1_000_000 for time in times]
    # Never before the row itself; without a label it does not matter when.
    assert encode(data, known_at="known").known_at.tolist() == [T0 + 7, T0 + 1, T0 + 2, T0 + 3]


def test_a_label_whose_known_at_is_null_is_a_bad_row() -> None:
    data = chunk(
        {"known": pa.array([None, None, T0], pa.timestamp("us")), "y": [0.0, None, 1.0], "z": [None, None, 1.0]}
    )
    kept, reasons = rejected(data, known_at="known", labels=["y", "z"])
    assert kept == [1, 2]
    assert "there is a label, but known_at, column 'known', is null" in reasons[0]


def test_a_delay_beyond_the_end_of_time_is_a_bad_row() -> None:
    column = pa.array([(1 << 63) - 5, 0], pa.int64()).view(pa.timestamp("us"))
    assert rejected(chunk({"ts": column}), label_delay="1s")[0] == [1]
