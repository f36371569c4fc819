"""Times of Arrow columns as int64 microseconds since 1970 UTC, and the categorical parts of an event time."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penrose_host.features.ids import integers_of, null_mask

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Int64
    from penrose_host.features.config import Categorical, TimeColumn
    from penrose_host.features.ids import Bool

__all__ = ["Times", "local_time", "time_fault", "time_part", "times_of"]

_PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}
_SECOND, _MINUTE, _HOUR, _DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
_MAX = np.iinfo(np.int64).max
_TEXT = {pa.lib.Type_STRING, pa.lib.Type_LARGE_STRING, pa.lib.Type_STRING_VIEW}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Zones change their offset at whole quarters of an hour; years that `datetime` knows, with a day to spare.
_QUARTER = 15 * _MINUTE
_FIRST_QUARTER, _LAST_QUARTER = (int(datetime(y, 1, 2, tzinfo=UTC).timestamp()) // 900 for y in (1, 9999))


@dataclass(frozen=True, slots=True)
class Times:
    """`micros` (int64; 0 where there is no time), and where it is null and where it is unusable (None: nowhere)."""

    micros: Int64
    null: Bool | None = None
    unusable: Bool | None = None


def time_fault(type_: pa.DataType, source: TimeColumn) -> str | None:
    """What is wrong with a column of this type as a source of times, or None."""
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_) or pa.types.is_null(type_):
        return None
    if pa.types.is_integer(type_):
        wanted = f"say what its numbers count: {{column: {source.column}, unit: s}} (or ms, us, ns)"
        return None if source.unit else wanted
    if _is_text(type_):
        return None if source.format else f"say how it is written: {{column: {source.column}, format: iso8601}}"
    return "a time is a timestamp, a date, an integer with `unit`, or text with `format: iso8601`"


def times_of(column: pa.Array, source: TimeColumn) -> Times:
    """The times of a column for which `time_fault` is None. A timestamp[us] without nulls is not copied."""
    type_ = column.type
    if pa.types.is_null(type_):
        return Times(np.zeros(len(column), dtype=np.int64), null=np.ones(len(column), dtype=np.bool_))
    if _is_text(type_):
        return _parsed(column)
    if pa.types.is_timestamp(type_):
        unit, values = type_.unit, integers_of(column.view(pa.int64()))
    elif pa.types.is_date(type_):
        # Dates come as whole days; a date too far away is out of range as seconds already shows.
        unit, values = "s", integers_of(column) * (_DAY // _SECOND)
    else:
        unit, values = source.unit, integers_of(column)
    null = null_mask(column) if column.null_count else None
    outside: Bool | None = None
    if pa.types.is_uint64(type_):
        outside = values < 0  # the upper half of uint64
    if unit == "ns":
        values = values // 1000
    elif unit != "us":
        scale = _PER_UNIT[unit]
        far = (values > _MAX // scale) | (values < -(_MAX // scale))
        outside = far if outside is None else outside | far
        values = values * scale
    if outside is not None and null is not None:
        outside &= ~null
    if outside is not None and not outside.any():
        outside = None
    return Times(_zeroed(_zeroed(values, null), outside), null, outside)


def time_part(local: Int64, feature: Categorical) -> Int64:
    """The part of the event time that a categorical feature asks for: int64 [rows], from `local_time`.

    minute 0-59, hour 0-23, weekday 0-6 from Monday, day since 1970, ISO week 1-53, month 1-12; slots count from
    1970, or from midnight with `of_day`.
    """
    if feature.slot is not None:
        return (local % _DAY if feature.of_day else local) // feature.slot
    if feature.event_time == "minute":
        return local // _MINUTE % 60
    if feature.event_time == "hour":
        return local // _HOUR % 24
    days = local // _DAY
    if feature.event_time == "day":
        return days
    if feature.event_time == "month":
        return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    weekday = (days + 3) % 7
    if feature.event_time == "weekday":
        return weekday
    # The ISO week of a day is the one of its Thursday, counted in the year of that Thursday.
    thursday = days - weekday + 3
    first = thursday.astype("datetime64[D]").astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
    return (thursday - first) // 7 + 1


def local_time(micros: Int64, zone: str) -> Int64:
    """What the zone's clocks show, as if it were UTC; worked out once for each quarter of an hour that occurs."""
    zone_info = zoneinfo.ZoneInfo(zone)
    quarters, where = np.unique(micros // _QUARTER, return_inverse=True)
    known = np.clip(quarters, _FIRST_QUARTER, _LAST_QUARTER).tolist()
    offsets = [(_EPOCH + timedelta(minutes=15 * q)).astimezone(zone_info).utcoffset() or timedelta() for q in known]
    return micros + np.array([offset // timedelta(microseconds=1) for offset in offsets], dtype=np.int64)[where]


def _is_text(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        return _is_text(type_.value_type)
    return type_.id in _TEXT


def _parsed(column: pa.Array) -> Times:
    null = null_mask(column) if column.null_count else None
    text = column.cast(pa.large_string())
    # Digits below the microsecond are cut off at once: `_parse` would come down to single rows for them.
    parsed = _parse(pc.replace_substring_regex(text, r"(\.\d{6})\d+", r"\1"))
    unusable = null_mask(parsed)
    if null is not None:
        unusable &= ~null
    micros = _zeroed(integers_of(parsed.view(pa.int64())), null)
    return Times(_zeroed(micros, unusable), null, unusable if unusable.any() else None)


def _parse(text: pa.Array) -> pa.Array:
    """timestamp[us], null where the text is not ISO 8601. Halves the column around what cannot be parsed."""
    for type_ in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return text.cast(type_).view(pa.timestamp("us"))
        except pa.ArrowInvalid:
            continue
    if len(text) == 1:
        return pa.array([_parse_one(text[0])], pa.timestamp("us"))
    middle = len(text) // 2
    return pa.concat_arrays([_parse(text[:middle]), _parse(text[middle:])])


def _parse_one(text: pa.Scalar) -> datetime | None:
    """What Arrow does not read, Python may: the basic format, a comma before the fraction."""
    try:
        parsed = datetime.fromisoformat(text.as_py())
    except ValueError:
        return None
    try:
        return parsed.astimezone(UTC).replace(tzinfo=None) if parsed.tzinfo else parsed
    except OverflowError:
        return None


def _zeroed(values: Int64, where: Bool | None) -> Int64:
    return values if where is None else np.where(where, 0, values)
