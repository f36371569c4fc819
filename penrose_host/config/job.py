"""The job: one validated configuration, from a file, `PENROSE_*` variables and flags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    field_validator,
    model_validator,
)

from penrose_host.config.jobfile import to_yaml
from penrose_host.config.plugin_choice import NAME, NO_EMBEDDING, Choice, PluginChoice
from penrose_host.core.metrics.config import MetricsConfig
from penrose_host.features.config import FeaturesConfig
from penrose_host.options.durations import Duration
from penrose_host.options.instants import Instant, format_instant, parse_instant
from penrose_host.options.section import Section
from penrose_host.plugins.index import bare_name

__all__ = ["Checkpoint", "Job", "MicroBatch", "Output", "Report", "Until", "Waiting"]


#: A count: YAML's `true`, or text, is not one.
Count = Annotated[int, Field(strict=True, gt=0)]


class MicroBatch(Section):
    """Where a micro-batch is cut: at `rows`, and where event time enters another span."""

    rows: Count = Field(default=1024, description="The most rows of a micro-batch.")
    event_time: Duration | None = Field(
        default=None, description="Also cut where event time, in whole spans of this length since 1970, changes."
    )


class Waiting(Section):
    """Rows that were scored and wait for their label."""

    max_rows: Count = Field(default=5_000_000, description="So many rows may wait; more end the run with an error.")


class Report(Section):
    """How often a line is added to `metrics.jsonl`."""

    rows: Count = Field(default=10_000, description="Rows between two reports.")


class Checkpoint(Section):
    """When checkpoints are written, whichever comes first, and how many are kept."""

    rows: Count | None = Field(default=100_000, description="Rows between two checkpoints; null: not by rows.")
    seconds: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = Field(
        default=60.0, description="Seconds between two checkpoints; null: not by time."
    )
    keep: Count = Field(default=3, description="How many checkpoints are kept.")


def _folder(value: str) -> str:
    # What stands in such a folder is cut back and replaced: it must be the run's own.
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.parts or path.parts[0] == "checkpoints":
        raise ValueError("should be a folder of its own in the run directory, such as `predictions`")
    return str(path)


Folder = Annotated[str, AfterValidator(_folder)]


class Output(Section):
    """What a run writes beside its checkpoints and metrics, each in a folder of the run directory."""

    predictions: Folder | None = Field(default=None, description="Folder for Parquet files with every row's score.")
    export: Folder | None = Field(
        default=None, description="Folder for the servable model, when the run has ended, by `until` too."
    )

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.predictions is not None and self.export is not None:
            one, other = PurePosixPath(self.predictions), PurePosixPath(self.export)
            if one.is_relative_to(other) or other.is_relative_to(one):
                raise ValueError("predictions and export need folders apart from each other")
        return self


class Until(Section):
    """Where the run stops, before the stream ends; what waits for a label then goes on waiting."""

    rows: Count | None = Field(default=None, description="After so many rows, counted from the stream's start.")
    event_time: Instant | None = Field(
        default=None, description="Before the first row at or after this time (ISO 8601)."
    )
    stream: str | dict[str, Annotated[int, Field(ge=0)]] | None = Field(
        default=None,
        description="Where the datasource's stream is at `now` (as the run starts), or was at a time of its own "
        "clock (ISO 8601), or partition → the offset to stop before. For datasources that can tell.",
    )

    @field_validator("stream", mode="before")
    @classmethod
    def _time_as_text(cls, value: object) -> object:
        return value.isoformat() if isinstance(value, date) else value

    @field_validator("stream")
    @classmethod
    def _known_bound(cls, value: str | dict[str, int] | None) -> str | dict[str, int] | None:
        if isinstance(value, str) and value != "now":
            return format_instant(parse_instant(value))
        return value


class Job(Section):
    """A whole job. Plugins are chosen by name here; their options are checked by `resolve`."""

    name: str = Field(description="Name of the job, and of its run directory.")
    environment: Choice = Field(default=PluginChoice(name="local"), description="Where the job's processes run.")
    datasource: Choice = Field(description="Where the rows come from.")
    executor: Choice = Field(description="What trains the model.")
    embedding: Choice | None = Field(
        default=None,
        description="What holds the embedding tables; `none`: the framework itself. Where a job does not say: "
        "what its run directory was begun with, or the executor's own choice, whatever is installed.",
    )
    hooks: tuple[Choice, ...] = Field(
        default=(), description="Plugins that watch the run, or have a say in its exports."
    )
    features: FeaturesConfig = Field(description="What the columns of the stream mean.")
    order: Literal["event_time", "arrival"] = Field(
        default="event_time",
        description="event_time: partitions are merged, runs repeat byte for byte; arrival: as rows come.",
    )
    idle: Duration | None = Field(
        default=None,
        description="A silent partition of an unbounded stream holds the merge back for at most this long.",
    )
    micro_batch: MicroBatch = Field(default=MicroBatch(), description="Where micro-batches are cut.")
    waiting: Waiting = Field(default=Waiting(), description="Rows that wait for their label.")
    metrics: MetricsConfig = Field(default=MetricsConfig(), description="The moving window of the metrics.")
    report: Report = Field(default=Report(), description="How often metrics are reported.")
    checkpoint: Checkpoint = Field(
        default=Checkpoint(), description="When checkpoints are written, and how many are kept."
    )
    bad_rows: Literal["fail", "skip", "dead-letter"] = Field(
        default="fail", description="Rows that cannot be used: end the run, count them, or keep them in a file."
    )
    non_finite: Literal["stop", "skip", "rollback"] = Field(
        default="stop",
        description="A step whose loss is not finite: end the run, leave it out, or go back to a checkpoint.",
    )
    output: Output = Field(default=Output(), description="What is written beside checkpoints and metrics.")
    until: Until = Field(default=Until(), description="Where to stop before the stream ends.")
    run_dir: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="Folder of the run; runs/NAME where none is given."
    )
    seed: Annotated[int, Field(strict=True, ge=0, lt=1 << 63)] = Field(
        default=0, description="Seed of everything random."
    )

    @field_validator("name")
    @classmethod
    def _can_name_a_folder(cls, value: str) -> str:
        if not re.fullmatch(NAME, value):
            raise ValueError(
                "should have 1 to 100 letters (a to z), digits, `.`, `_` and `-`, beginning with a letter or a digit"
            )
        return value

    @field_validator("micro_batch", "waiting", "metrics", "report", "checkpoint", "output", "until", mode="before")
    @classmethod
    def _empty_section(cls, value: object) -> object:
        """A section whose lines are all commented out is empty, not wrong."""
        return {} if value is None else value

    @field_validator("embedding", mode="before")
    @classmethod
    def _no_embedding(cls, value: object) -> object:
        unnamed = isinstance(value, Mapping) and value.get("name", "") is None
        return NO_EMBEDDING if unnamed else value

    @field_validator("hooks", mode="before")
    @classmethod
    def _no_hooks(cls, value: object) -> object:
        return () if value is None else value

    @field_validator("hooks")
    @classmethod
    def _hooks_once(cls, value: tuple[PluginChoice, ...]) -> tuple[PluginChoice, ...]:
        names = [bare_name(choice.name) for choice in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} stands here more than once")
        return value

    @property
    def run_directory(self) -> Path:
        """`run_dir`, or `runs/NAME`."""
        return Path(self.run_dir) if self.run_dir is not None else Path("runs") / self.name

    def to_dict(self) -> dict[str, Any]:
        """JSON types that `Job.model_validate` takes back. Plugin options are as given, secrets included."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """The job as a file that `load_job` reads as the same job; see `to_dict` about secrets."""
        return to_yaml(self.to_dict())
