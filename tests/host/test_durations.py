from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, strategies as st
from pydantic import BaseModel, ValidationError

from penrose_host.options.durations import Duration, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("90s", 90_000_000),
        ("5m", 300_000_000),
        ("2h", 7_200_000_000),
        ("1d", 86_400_000_000),
        ("250ms", 250_000),
        ("7us", 7),
        ("1.5h", 5_400_000_000),
        (" 5 m ", 300_000_000),
        ("PT5M", 300_000_000),
        ("P1D", 86_400_000_000),
        ("P2W", 14 * 86_400_000_000),
        ("P1DT2H3M4.5S", 86_400_000_000 + 7_384_500_000),
        ("PT0.000001S", 1),
    ],
)
def test_text_is_read_as_microseconds(text: str, micros: int) -> None:
    assert parse_duration(text) == micros


@pytest.mark.parametrize(
    "text", ["", "5", "m", "P", "PT", "P1DT", "-5m", "5 minutes", "0.1us", "1e3s", "٣s", "9" * 30 + "d"]
)
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=(1 << 63) - 1))
def test_formatting_is_read_back(micros: int) -> None:
    assert parse_duration(format_duration(micros)) == micros


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        micros = parse_duration(text)
    except ValueError:
        return
    assert 0 <= micros < 1 << 63


class Model(BaseModel):
    span: Duration
    idle: Duration | None = None


def test_a_field_takes_text_and_prints_it() -> None:
    model = Model.model_validate({"span": "300s", "idle": timedelta(seconds=30)})
    assert (model.span, model.idle) == (300_000_000, 30_000_000)
    assert model.model_dump() == {"span": "5m", "idle": "30s"}
    assert Model.model_validate(model.model_dump()) == model


@pytest.mark.parametrize("value", [30, 1.5, True, None, "0s", ["5m"]])
def test_a_field_refuses_numbers_without_a_unit_and_nothing(value: object) -> None:
    with pytest.raises(ValidationError):
        Model.model_validate({"span": value})
