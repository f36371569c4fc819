"""The `metrics:` section of a job: how far back the moving window reaches."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from penrose_host.options.durations import Duration

__all__ = ["MetricsConfig"]


class MetricsConfig(BaseModel):
    """A window of rows (exactly the last so many), or of event time (in steps of a 24th of it), or none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_rows: Annotated[int, Field(gt=0, le=1_000_000)] | None = Field(
        default=10_000, description="metrics over the last so many rows; costs 8 bytes a row and head"
    )
    window_event_time: Duration | None = Field(
        default=None, description="instead, over so much event time before the newest row"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_window(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("window_event_time") is not None:
            if values.get("window_rows") is not None:
                raise ValueError("give `window_rows` or `window_event_time`, not both")
            return {**values, "window_rows": None}
        return values
