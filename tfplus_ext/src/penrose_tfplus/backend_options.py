"""Options of the backend `tfplus`, as a job writes them under `embedding`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from penrose_host.options import Duration, Section

__all__ = ["AdmissionOptions", "EvictionOptions", "TfplusOptions"]

#: Bytes that a row takes beside its numbers: key, count, time, and its share of the index.
_ROW_OVERHEAD = 16 + 12 / 0.6 + 1


class AdmissionOptions(Section):
    """Which keys become rows: one of the two."""

    count: Annotated[int, Field(ge=1, lt=2**32)] | None = Field(
        None, description="A key becomes a row once training has seen it so many times."
    )
    probability: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="A key becomes a row each time training sees it, with this probability."
    )

    @model_validator(mode="after")
    def _one(self) -> AdmissionOptions:
        if (self.count is None) == (self.probability is None):
            raise ValueError("give count or probability, one of them")
        return self


class EvictionOptions(Section):
    """Which rows are given up, each so many steps. A row goes that falls under any bound given."""

    max_age: Duration | None = Field(None, description="Rows not trained for this long, by event time.")
    min_count: Annotated[int, Field(ge=1, lt=2**32)] | None = Field(
        None, description="Rows that training has seen less often."
    )
    min_norm: Annotated[float, Field(ge=0)] | None = Field(None, description="Rows with a smaller L2 norm.")
    max_rows: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Rows beyond this number: those not trained for longest."
    )
    every: int = Field(1000, ge=1, description="Training steps from one eviction to the next.")


#: A run may go on from its checkpoints with another value.
_MAY_CHANGE: dict[str, JsonValue] = {"fingerprint": False}


class TfplusOptions(Section):
    """Options of every table of a job. Each may be changed between two starts of a run."""

    threads: Annotated[int, Field(ge=1, le=256)] | None = Field(
        None,
        description="Threads that share a batch; by default all processors, at most 8. Results do not depend on it.",
        json_schema_extra=_MAY_CHANGE,
    )
    shards: Literal[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096] = Field(
        64,
        description="Parts of a table; each grows alone. Checkpoints restore onto any number.",
        json_schema_extra=_MAY_CHANGE,
    )
    admission: AdmissionOptions | None = Field(
        None, description="Which keys become rows; all where not given.", json_schema_extra=_MAY_CHANGE
    )
    eviction: EvictionOptions | None = Field(
        None, description="Which rows are given up; none where not given.", json_schema_extra=_MAY_CHANGE
    )
    max_rows: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Rows that a table may hold.", json_schema_extra=_MAY_CHANGE
    )
    max_bytes: Annotated[int, Field(ge=1 << 16)] | None = Field(
        None, description="Memory that a table may take: as many rows as fit in it.", json_schema_extra=_MAY_CHANGE
    )
    at_limit: Literal["fail", "evict"] = Field(
        "fail",
        description="At the limit: end the run, or give up the tenth of the rows not trained for longest.",
        json_schema_extra=_MAY_CHANGE,
    )
    non_finite: Literal["fail", "skip"] = Field(
        "fail",
        description="Rows whose gradient is not finite: an error, or left out and counted.",
        json_schema_extra=_MAY_CHANGE,
    )

    def row_limit(self, numbers_bytes: int) -> int | None:
        """The rows that a table may hold, each with so many bytes of weights and slots."""
        limits = [self.max_rows] if self.max_rows is not None else []
        if self.max_bytes is not None:
            limits.append(max(1, int(self.max_bytes / (numbers_bytes + _ROW_OVERHEAD))))
        return min(limits, default=None)

    def admission_policy(self) -> Mapping[str, float]:
        return self.admission.model_dump(exclude_none=True) if self.admission else {}

    def eviction_policy(self) -> Mapping[str, float]:
        # `max_age` as it is inside, microseconds, not as the text that a dump gives.
        policy = self.eviction
        return {name: value for name, value in policy if value is not None} if policy else {}
