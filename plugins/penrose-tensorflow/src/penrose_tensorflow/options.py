"""The options of the executor, as a job gives them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from penrose_host.executors.options import ModelOptions

__all__ = ["TensorflowOptions"]


class TensorflowOptions(ModelOptions):
    """The model, how it learns, and where it runs."""

    threads: int = Field(
        1, ge=1, description="threads of TensorFlow; runs repeat byte for byte with equal numbers only"
    )
    device: Literal["auto", "cpu", "gpu"] = Field(
        "auto",
        description="auto: gpu where there is one, otherwise cpu",
        json_schema_extra={"fingerprint": False},  # a run may go on elsewhere
    )
