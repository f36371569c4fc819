"""Axes: where ticks stand, and how numbers and times are written."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

__all__ = ["clock", "compact", "decimal", "event_clock", "event_ticks", "grouped", "ticks"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_STEPS = (
    1,
    5,
    15,
    *(n * _MINUTE for n in (1, 5, 15)),
    *(n * _HOUR for n in (1, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 7, 14)),
)
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 600, 1200, 12_000, 24_000)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) between `low` and `high`."""
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def decimal(value: float, step: float) -> str:
    """A number with as many decimals as ticks `step` apart need."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.{digits}f}" if step < 1e3 and abs(value) < 1e5 else compact(value)


def compact(value: float) -> str:
    """A short number: 950, 12k, 1.5M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.99995:
            return f"{value / size:.4g}{unit}"
    return f"{value:.4g}"


def grouped(value: float) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,.0f}"


def clock(seconds: float) -> str:
    """Unix seconds as date and time, UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "–"


def event_clock(micros: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Microseconds since 1970 as date and time, UTC; they may be of any year."""
    try:
        return (_EPOCH + timedelta(microseconds=micros)).strftime(form)
    except (OverflowError, ValueError):
        return "–"


def event_ticks(low: float, high: float, count: int) -> list[tuple[float, str]]:
    """About `count` round dates or times of day between two event times in microseconds, with how to write each."""
    rough = (high - low) / count / 1e6
    step = next((step for step in _STEPS if step >= rough), None)
    if step is not None:
        form = "%d %b" if step >= 86_400 else "%H:%M" if step >= 60 else "%H:%M:%S"
        first = math.ceil(low / 1e6 / step)
        places = [number * step * 1e6 for number in range(first, math.floor(high / 1e6 / step) + 1)] or [low, high]
        return [(place, event_clock(place, form)) for place in places]
    months = next((months for months in _MONTHS if months * 30.44 * 86_400 >= rough), _MONTHS[-1])
    begin, end = (_month(micros) for micros in (low, high))
    dates = [datetime(n // 12, n % 12 + 1, 1, tzinfo=UTC) for n in range(-(-begin // months) * months, end + 1, months)]
    form = "%b %Y" if months < 12 else "%Y"
    found = [
        (at, date.strftime(form))
        for date in dates
        if low <= (at := (date - _EPOCH) / timedelta(microseconds=1)) <= high
    ]
    return found or [(place, event_clock(place, form)) for place in (low, high)]


def _month(micros: float) -> int:
    """The number of the month since the year 0; within the years that dates can be of."""
    seconds = min(max(micros / 1e6, -62_135_596_800.0), 253_402_300_799.0)
    date = _EPOCH + timedelta(seconds=seconds)
    return date.year * 12 + date.month - 1
