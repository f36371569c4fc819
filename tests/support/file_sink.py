"""A sink that appends rows to a file as JSON lines, and the distribution that brings it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from penrose_host import Sink
from penrose_host.errors import SinkError

if TYPE_CHECKING:
    import pyarrow as pa

GROUPS = {"penrose.sinks": {"lines": "file_sink:LinesSink"}}


class LinesOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    topic: str = Field(description="The file to append to.")
    full_after: int | None = Field(default=None, description="Refuse what comes after so many rows.")


class LinesSink(Sink):
    """Appends each row to a file, as JSON."""

    api_version = 1
    Options = LinesOptions

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._file: IO[str] | None = None
        self._rows = 0

    def open(self) -> None:
        try:
            self._file = Path(self.options.topic).open("a", buffering=1)  # noqa: SIM115
        except OSError as error:
            raise SinkError(f"{self.options.topic} cannot be written: {error.strerror}", plugin="lines") from error

    def write(self, rows: pa.RecordBatch) -> None:
        assert self._file is not None
        self._rows += rows.num_rows
        if self.options.full_after is not None and self._rows > self.options.full_after:
            raise SinkError(f"{self.options.topic} is full", plugin="lines", hint="make room")
        self._file.writelines(json.dumps(row, default=str) + "\n" for row in rows.to_pylist())

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None
