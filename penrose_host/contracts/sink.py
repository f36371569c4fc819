"""Where rows go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from penrose_host.contracts.plugin import Plugin

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Sink"]


class Sink(Plugin, ABC):
    """Takes the rows of a stream: what `penrose replay` publishes goes through one. Called from one thread."""

    @abstractmethod
    def open(self) -> None:
        """Get ready to write. Raises `SinkError` where that cannot be."""

    @abstractmethod
    def write(self, rows: pa.RecordBatch) -> None:
        """Take these rows, after all that came before: every column of the source, `_partition` and `_offset` too.

        Blocks while the sink is full. Batches may differ in their columns, as those of a source may, and may be empty.
        Raises `SinkError` where rows cannot be written, also rows of an earlier call.
        """

    @abstractmethod
    def flush(self) -> None:
        """Return once all rows that were taken are durable there. Raises `SinkError` where they cannot be."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything; what was not flushed may be lost. May be called twice, and without `open`."""
