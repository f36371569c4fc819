"""A section of a job: unknown keys are faults, values are frozen."""

from __future__ import annotations

from pydantic import (
    BaseModel,
    ConfigDict,
)

__all__ = ["Section"]


class Section(BaseModel):
    """Base of what a job file holds; errors never show the values, which may be secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, ser_json_inf_nan="constants")
