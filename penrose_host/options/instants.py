"""Points in event time in a job: ISO 8601 text; in the host, int microseconds since 1970 UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

__all__ = ["Instant", "format_instant", "parse_instant"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_instant(text: str) -> int:
    """Microseconds since 1970 UTC; without a zone the text is UTC. Raises ValueError."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not a time: write ISO 8601, such as 2013-06-01T12:00:00Z") from None
    return _micros(moment)


def format_instant(micros: int) -> str:
    """ISO 8601 in UTC; `parse_instant` reads it as the same number."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat().replace("+00:00", "Z")


def _micros(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def _validate(value: object) -> object:
    if isinstance(value, str):
        return parse_instant(value)
    if isinstance(value, datetime):
        return _micros(value)
    if isinstance(value, date):
        return _micros(datetime(value.year, value.month, value.day))
    raise ValueError(f"{value!r} is not a time: write ISO 8601, such as 2013-06-01T12:00:00Z")


#: A pydantic field: takes ISO 8601 text (or a `datetime`), holds int microseconds since 1970 UTC, prints as text.
Instant = Annotated[int, BeforeValidator(_validate), PlainSerializer(format_instant)]
