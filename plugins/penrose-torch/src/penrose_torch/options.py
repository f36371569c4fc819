"""The options of the executor, as a job gives them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from penrose_host.executors import ModelOptions

__all__ = ["TorchOptions"]


class TorchOptions(ModelOptions):
    """The model, how it learns, and where it runs."""

    threads: int = Field(1, ge=1, description="threads of PyTorch; runs repeat byte for byte with equal numbers only")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="auto: cuda where there is one, otherwise cpu",
        json_schema_extra={"fingerprint": False},  # a run may go on elsewhere
    )
