"""The `features:` section of a job: which columns are features, labels and times, and what becomes of them."""

from __future__ import annotations

import zoneinfo
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from penrose_host.contracts.executor import FeatureSpec, ListFeature
from penrose_host.options.durations import Duration, parse_duration

__all__ = [
    "PARTS",
    "Categorical",
    "Cross",
    "FeaturesConfig",
    "Label",
    "ListColumn",
    "Numeric",
    "TimeColumn",
    "TimeOfColumn",
]

#: Parts of the event time that a categorical feature can be; a duration gives slots of that length instead.
PARTS = ("minute", "hour", "weekday", "day", "week", "month")


def _column(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


def _named_after_column(value: object) -> object:
    value = _column(value)
    if isinstance(value, dict) and "name" not in value and isinstance(value.get("column"), str):
        return {"name": value["column"], **value}
    return value


def _categorical(value: object) -> object:
    value = _named_after_column(value)
    if isinstance(value, dict) and "name" not in value and isinstance(value.get("event_time"), str):
        return {"name": value["event_time"] + ("_of_day" if value.get("of_day") else ""), **value}
    return value


def _cross(value: object) -> object:
    if isinstance(value, (list, tuple)):
        value = {"of": list(value)}
    if isinstance(value, dict) and "name" not in value and isinstance(value.get("of"), (list, tuple)):
        return {"name": "_x_".join(map(str, value["of"])), **value}
    return value


Name = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TimeColumn(_Section):
    """A column that holds times: timestamps or dates as they are, integers by `unit`, text by `format`."""

    column: Name = Field(description="the column; a timestamp without a zone is taken as UTC")
    unit: Literal["s", "ms", "us", "ns"] | None = Field(
        default=None, description="what an integer column counts since 1970"
    )
    format: Literal["iso8601"] | None = Field(default=None, description="how a text column is written")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if self.unit and self.format:
            raise ValueError("give `unit` (for integers) or `format` (for text), not both")
        return self


#: As a job says it: a column's name alone, or with what it counts.
TimeOfColumn = Annotated[TimeColumn, BeforeValidator(_column)]


class Categorical(_Section):
    """One id a row: of a column's value, or of a part of the event time."""

    name: Name = Field(description="the feature's name; its ids depend on it")
    column: Name | None = Field(default=None, description="a column of text, integers, booleans, dates or binary")
    event_time: str | None = Field(
        default=None,
        description=f"instead of a column, a part of the event time: {', '.join(PARTS)}, or a slot such as 30m",
    )
    of_day: bool = Field(default=False, description="slots are counted from midnight, so that they come again each day")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.column is None) == (self.event_time is None):
            raise ValueError("give `column` or `event_time`, one of them")
        if self.of_day and self.slot is None:
            raise ValueError("`of_day` belongs to a slot of the event time, such as `event_time: 30m`")
        return self

    @field_validator("event_time")
    @classmethod
    def _known_part(cls, value: str | None) -> str | None:
        if value is not None and value not in PARTS:
            try:
                parse_duration(value)
            except ValueError:
                raise ValueError(f"{value!r} is neither one of {', '.join(PARTS)} nor a duration such as 30m") from None
            if parse_duration(value) == 0:
                raise ValueError("a slot must be longer than 0")
        return value

    @property
    def slot(self) -> int | None:
        """The length of a slot in microseconds; None for a column and for the named parts."""
        return None if self.event_time is None or self.event_time in PARTS else parse_duration(self.event_time)


class Cross(_Section):
    """One id a row for the combination of several categorical features or columns."""

    name: Name = Field(description="the feature's name, by default the members joined with `_x_`; its ids depend on it")
    of: Annotated[tuple[Name, ...], Field(min_length=2)] = Field(
        description="names of categorical features, or columns that need not be features on their own"
    )


class ListColumn(_Section):
    """Any number of ids a row, of a list column."""

    name: Name = Field(description="the feature's name; its ids depend on it")
    column: Name = Field(description="a list column of anything that a categorical feature can be")
    combiner: Literal["sum", "mean"] = Field(
        default="mean", description="how a model combines the embeddings of one row"
    )
    max_length: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="keep only the last so many of a row"
    )
    ordered: bool = Field(default=False, description="the order means something (a sequence)")


class Numeric(_Section):
    """One float32 a row."""

    name: Name = Field(description="the feature's name")
    column: Name = Field(description="a column of integers, floats, decimals or booleans")
    default: Annotated[float, Field(allow_inf_nan=False)] = Field(default=0.0, description="instead of null and NaN")
    transform: Literal["log1p"] | None = Field(default=None, description="log1p: the logarithm of 1 + value")

    @model_validator(mode="after")
    def _default_can_be_transformed(self) -> Self:
        if self.transform == "log1p" and self.default <= -1:
            raise ValueError(f"the default {self.default} has no log1p")
        return self


class Label(_Section):
    """What one head of the model learns: 0 or 1, or between; null or NaN is scored and never trained."""

    name: Name = Field(description="the name of the head")
    column: Name = Field(description="a column of booleans, or of numbers from 0 to 1")
    at_least: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        default=None, description="the label is 1 where the column is at least this, else 0"
    )


class FeaturesConfig(_Section):
    """Columns in; ids, numbers, labels and times out."""

    event_time: TimeOfColumn = Field(description="when the row happened")
    time_zone: str | None = Field(default=None, description="zone of the parts of the event time (default: UTC)")
    categorical: tuple[Annotated[Categorical, BeforeValidator(_categorical)], ...] = ()
    crosses: tuple[Annotated[Cross, BeforeValidator(_cross)], ...] = ()
    lists: tuple[Annotated[ListColumn, BeforeValidator(_named_after_column)], ...] = ()
    numeric: tuple[Annotated[Numeric, BeforeValidator(_named_after_column)], ...] = ()
    labels: Annotated[tuple[Annotated[Label, BeforeValidator(_named_after_column)], ...], Field(min_length=1)]
    known_at: TimeOfColumn | None = Field(
        default=None, description="column that says when the label is known (default: when the row arrives)"
    )
    label_delay: Duration | None = Field(default=None, description="the label is known so long after the event time")

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                zoneinfo.ZoneInfo(value)
            except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
                raise ValueError(f"there is no time zone {value!r} here: write UTC, Europe/Berlin, …") from None
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.known_at is not None and self.label_delay is not None:
            raise ValueError("give `known_at` (a column) or `label_delay` (a duration), not both")
        spec = self.spec()
        others = [cross.name for cross in self.crosses] + [feature.name for feature in self.lists]
        _refuse_repeated("feature", [*(feature.name for feature in self.categorical), *others, *spec.numeric])
        _refuse_repeated("label", spec.labels)
        for cross in self.crosses:
            for member in cross.of:
                if member in others:
                    raise ValueError(f"cross {cross.name!r}: {member!r} is a cross or a list, and cannot be a member")
        return self

    @property
    def labels_on_arrival(self) -> bool:
        """Whether every label is known when its row arrives: no column and no delay says otherwise."""
        return self.known_at is None and self.label_delay is None

    def members(self) -> tuple[Categorical, ...]:
        """The categorical features, and after them the columns that only crosses use, as features of their name."""
        known = {feature.name: feature for feature in self.categorical}
        for cross in self.crosses:
            for name in cross.of:
                known.setdefault(name, Categorical(name=name, column=name))
        return tuple(known.values())

    def columns(self) -> list[str]:
        """The source columns that these features need, each once; `_partition` and `_offset` go without saying."""
        needed = [self.event_time.column] + ([] if self.known_at is None else [self.known_at.column])
        needed += [member.column for member in self.members() if member.column is not None]
        needed += [feature.column for feature in self.lists] + [feature.column for feature in self.numeric]
        needed += [label.column for label in self.labels]
        return list(dict.fromkeys(needed))

    def spec(self) -> FeatureSpec:
        """What executors see of these features."""
        return FeatureSpec(
            categorical=(*(feature.name for feature in self.categorical), *(cross.name for cross in self.crosses)),
            lists=tuple(ListFeature(feature.name, feature.combiner, feature.ordered) for feature in self.lists),
            numeric=tuple(feature.name for feature in self.numeric),
            labels=tuple(label.name for label in self.labels),
            recipe=self.to_json(),
        )

    def to_json(self) -> dict[str, Any]:
        """A dict that `json.dumps` takes and `model_validate` reads back; every name is spelt out."""
        return self.model_dump(mode="json")


def _refuse_repeated(kind: str, names: Sequence[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"{kind} name {repeated[0]!r} stands twice: give one of them another `name:`")
