"""Checks the columns of a stream against what the features need; every fault is named at once."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from penrose_host.errors import DataError
from penrose_host.features.ids import ACCEPTED, can_have_ids
from penrose_host.features.lists import list_fault
from penrose_host.features.numbers import number_fault
from penrose_host.features.times import time_fault

if TYPE_CHECKING:
    import pyarrow as pa

    from penrose_host.features.config import FeaturesConfig

__all__ = ["Use", "check_columns", "input_uses", "target_uses"]


class Use(NamedTuple):
    """One use of a column: where the job says so, the column, and what is wrong with a type (None: nothing)."""

    place: str
    column: str
    fault: Callable[[pa.DataType], str | None]


def input_uses(config: FeaturesConfig) -> list[Use]:
    """The columns that scoring needs; the event time only where a feature is made of it."""
    members = config.members()
    uses = [Use(f"categorical feature {m.name!r}", m.column, _id_fault) for m in members if m.column is not None]
    uses += [Use(f"list feature {feature.name!r}", feature.column, list_fault) for feature in config.lists]
    uses += [Use(f"numeric feature {feature.name!r}", feature.column, number_fault) for feature in config.numeric]
    if any(member.event_time is not None for member in members):
        uses.append(Use("event_time", config.event_time.column, partial(time_fault, source=config.event_time)))
    return uses


def target_uses(config: FeaturesConfig) -> list[Use]:
    """The columns that only training needs: labels and times."""
    uses = [Use(f"label {label.name!r}", label.column, number_fault) for label in config.labels]
    uses.append(Use("event_time", config.event_time.column, partial(time_fault, source=config.event_time)))
    if config.known_at is not None:
        uses.append(Use("known_at", config.known_at.column, partial(time_fault, source=config.known_at)))
    return uses


def check_columns(schema: pa.Schema, uses: Sequence[Use], asked_by: str | None = None) -> None:
    """Raises DataError, naming each column that is not there, stands twice, or has a type that does not fit.

    `asked_by`: what names the columns, where it is not the job's `features`.
    """
    names = schema.names
    faults = []
    for use in uses:
        count = names.count(use.column)
        if count == 0:
            near = difflib.get_close_matches(use.column, names, n=3, cutoff=0.6)
            meant = f" (close: {', '.join(near)})" if near else ""
            faults.append(f"{use.place}: the stream has no column {use.column!r}{meant}")
        elif count > 1:
            faults.append(f"{use.place}: the stream has {count} columns called {use.column!r}")
        else:
            type_ = schema.field(use.column).type
            fault = use.fault(type_)
            if fault is not None:
                faults.append(f"{use.place}: column {use.column!r} is {type_}; {fault}")
    if faults:
        shown = [name for name in names if not name.startswith("_")]
        columns = ", ".join(shown[:100]) + (f", and {len(shown) - 100} more" if len(shown) > 100 else "")
        lines = "\n".join(f"  {fault}" for fault in dict.fromkeys(faults))
        raise DataError(
            f"the stream does not have what {asked_by or '`features`'} names:\n{lines}\n  its columns are: {columns}",
            hint=f"correct {asked_by or '`features` in the job'}, or have the datasource give these columns",
        )


def _id_fault(type_: pa.DataType) -> str | None:
    if can_have_ids(type_):
        return None
    if list_fault(type_) is None:
        return "put list columns under `lists:`"
    hint = ""
    if str(type_).startswith("timestamp"):
        hint = "; of the event time, `event_time: hour` (or day, 30m, ...) makes a feature"
    elif number_fault(type_) is None:
        hint = "; put fractions under `numeric:`, or round them to integers in the datasource"
    return f"a categorical feature is {ACCEPTED}{hint}"
