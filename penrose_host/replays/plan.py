"""What is to be replayed, and where to: from flags, `PENROSE_*` variables and maybe a job file."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from penrose_host.config.job import Job
from penrose_host.config.jobfile import parse_value
from penrose_host.config.layers import Flags, Merged, merge
from penrose_host.config.plugin_choice import Choice
from penrose_host.config.resolve import Selection
from penrose_host.errors import ConfigError
from penrose_host.features.config import TimeColumn, TimeOfColumn
from penrose_host.options.durations import Duration
from penrose_host.options.faults import faults_of, with_origins
from penrose_host.plugins.selected import Selected
from penrose_host.plugins.selection import SelectionPolicy

__all__ = ["BadRows", "Order", "Plan", "load_plan"]

Order = Literal["event_time", "arrival"]
BadRows = Literal["fail", "skip"]
#: A DATASOURCE that ends like this is a job file.
_JOB_FILES = frozenset({".yaml", ".yml", ".toml"})
#: Keys of a job that a replay takes notice of, and its own.
_KEYS = ("datasource", "sink", "features", "idle")


@dataclass(frozen=True, slots=True)
class Plan:
    """A replay: `rows`: publish no more than these; `idle` in microseconds; `speed`: None as fast as it can."""

    datasource: Selected
    sink: Selected
    event_time: TimeColumn | None = None
    order: Order = "event_time"
    idle: int | None = None
    speed: float | None = None
    rows: int | None = None
    bad_rows: BadRows = "fail"

    @property
    def plugins(self) -> tuple[Selected, Selected]:
        """Both of them."""
        return self.datasource, self.sink


class _Features(BaseModel):
    event_time: TimeOfColumn | None = None


class _Asked(BaseModel):
    """What a replay needs of a job; the rest of a file is for others."""

    model_config = ConfigDict(hide_input_in_errors=True)

    datasource: Choice
    sink: Choice
    features: _Features = _Features()
    idle: Duration | None = None

    @field_validator("features", mode="before")
    @classmethod
    def _no_features(cls, value: object) -> object:
        return {} if value is None else value


def load_plan(
    datasource: str,
    sink: str,
    *,
    options: Collection[str] = (),
    topic: str | None = None,
    event_time: str | None = None,
    order: Order = "event_time",
    speed: float | None = None,
    rows: int | None = None,
    bad_rows: BadRows = "fail",
    environ: Mapping[str, str] | None = None,
    policy: SelectionPolicy | None = None,
) -> Plan:
    """The plan that these flags make; `datasource` is a name or a job file, `options` are `a.b=value` each.

    Raises one `ConfigError` with every fault; a plugin that cannot be used, where that alone is wrong,
    raises its own `PluginError`.
    """
    path = Path(datasource) if Path(datasource).suffix.lower() in _JOB_FILES else None
    flags = Flags(datasource=datasource if path is None else None, options=tuple(options))
    fields = {*Job.model_fields, "sink"}
    merged = merge(path, flags, os.environ if environ is None else environ, fields)
    merged.set("sink.name", sink, "--to")
    if topic is not None:
        merged.set("sink.topic", topic, "--topic")
    if event_time is not None:
        _set_event_time(merged, event_time)
    faults = merged.faults
    for option in options:
        place = option.partition("=")[0].strip()
        if place.partition(".")[0] not in _KEYS:
            faults.append(
                (f"-o {place}", "a replay takes options of `datasource` and `sink`, `features.event_time` and `idle`")
            )
    asked = None
    try:
        asked = _Asked.model_validate(merged.data)
    except ValidationError as error:
        faults += faults_of(error, _Asked, merged.data)
    if asked is None:
        raise ConfigError(with_origins(faults, merged.origins))
    time = asked.features.event_time
    if time is None and (order == "event_time" or speed is not None):
        why = "--speed goes by it" if order == "arrival" else "rows are published in its order, or with --order arrival"
        faults.append(("--event-time", f"name the column that says when a row happened ({why})"))
    selection = Selection(policy or SelectionPolicy(), faults)
    selection.add({"datasource": merged.with_set_aside("datasource", asked.datasource), "sink": asked.sink})
    selection.raise_faults(merged.origins)
    plugins = selection.plugins
    return Plan(plugins["datasource"], plugins["sink"], time, order, asked.idle, speed, rows, bad_rows)


def _set_event_time(merged: Merged, text: str) -> None:
    try:
        merged.set("features.event_time", parse_value(text), "--event-time")
    except ValueError as error:
        merged.faults.append(("--event-time", str(error)))
