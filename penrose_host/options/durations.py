"""Lengths of time in a job: "90s", "5m", "2h", "1d", "250ms", or ISO 8601 ("PT5M"); in the host, int microseconds."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer

__all__ = ["Duration", "format_duration", "parse_duration"]

_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_SHORT = re.compile(r"([0-9]+)(?:\.([0-9]+))?\s*(us|ms|s|m|h|d)")
_ISO = re.compile(
    r"P(?:(?P<weeks>[0-9]+)W)?(?:(?P<days>[0-9]+)D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>[0-9]+)H)?(?:(?P<minutes>[0-9]+)M)?"
    r"(?:(?P<seconds>[0-9]+)(?:[.,](?P<fraction>[0-9]{1,6}))?S)?)?"
)
_ISO_UNITS = {"weeks": 7 * _UNITS["d"], "days": _UNITS["d"], "hours": _UNITS["h"], "minutes": _UNITS["m"]}
_MAX = (1 << 63) - 1


def parse_duration(text: str) -> int:
    """Microseconds. Raises ValueError for anything that is not a duration, or is not whole microseconds."""
    text = text.strip()
    if len(text) > 40:
        raise ValueError(f"{text[:40]!r}... is not a duration")
    short, iso = _SHORT.fullmatch(text), _ISO.fullmatch(text)
    if short:
        whole, fraction, unit = short[1], short[2] or "", short[3]
        micros, rest = divmod(int(whole + fraction) * _UNITS[unit], int("1" + "0" * len(fraction)))
        if rest:
            raise ValueError(f"{text!r} is not a whole number of microseconds")
    elif iso and any(iso.groupdict().values()):
        micros = sum(int(iso[part] or 0) * unit for part, unit in _ISO_UNITS.items())
        micros += int(iso["seconds"] or 0) * _UNITS["s"] + int((iso["fraction"] or "").ljust(6, "0"))
    else:
        raise ValueError(f"{text!r} is not a duration: write 250ms, 90s, 5m, 2h, 1d, or ISO 8601 such as PT5M")
    if micros > _MAX:
        raise ValueError(f"{text!r} is too long")
    return micros


def format_duration(micros: int) -> str:
    """The shortest text that `parse_duration` reads as this many microseconds (not negative)."""
    if micros == 0:
        return "0s"
    length, unit = next((length, unit) for unit, length in reversed(_UNITS.items()) if micros % length == 0)
    return f"{micros // length}{unit}"


def _micros(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    raise ValueError(f"{value!r} has no unit: write text such as 250ms, 90s, 5m, 2h or 1d")


#: A pydantic field: takes text such as "5m" (or a `timedelta`), holds int microseconds above 0, prints as text.
Duration = Annotated[int, BeforeValidator(_micros), Field(gt=0, le=_MAX), PlainSerializer(format_duration)]
