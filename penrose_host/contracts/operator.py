"""What an engine that owns the loop (Ray, Beam, any stream processor) pushes rows into.

The engine's positions and checkpoint ids are its own. It calls `process` with chunks, in order within each
partition; `snapshot` when it takes a checkpoint of its own; `committed` or `aborted` when it knows how that
ended; and `finish` at the end of the stream. After a failure it opens the operator again with the id of its
last committed checkpoint, and pushes what came after that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Chunk, Position

__all__ = ["Operator"]


class Operator(ABC):
    """Takes the rows that an engine pushes. All calls come from one thread at a time."""

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether the engine said that the stream has ended."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether the run has come to the job's `until`: the engine is to push no more, and let go."""

    @abstractmethod
    def assign(self, partitions: Iterable[str]) -> None:
        """More partitions take part: an event-time merge waits for them."""

    @abstractmethod
    def process(self, chunk: Chunk) -> None:
        """Take a chunk and work through every micro-batch that is complete with it.

        Raises BadRow under `bad_rows: fail`, TrainingError; PenroseError where the run was `done` before.
        """

    @abstractmethod
    def end(self, partitions: Iterable[str]) -> None:
        """These partitions will give no more rows."""

    @abstractmethod
    def snapshot(self, id: str, position: Position) -> None:
        """Freeze this instant under the engine's id and position; it is written behind.

        Rows that were pushed and not yet scored are part of it: the engine will not push them again.
        """

    @abstractmethod
    def durable(self) -> str | None:
        """Wait until the last snapshot is durable, and return the checkpoint's id; None before the first.

        Only then may the engine commit its own checkpoint. Raises CheckpointError where it could not be written.
        """

    @abstractmethod
    def committed(self, id: str) -> None:
        """The engine's checkpoint is durable: ours of that id is kept until the next one is committed.

        Raises CheckpointNotFound for an id that no durable snapshot has.
        """

    @abstractmethod
    def aborted(self, id: str) -> None:
        """The engine gave its checkpoint up; ours may stay on disk, and is never restored unless asked for."""

    @abstractmethod
    def finish(self) -> None:
        """The stream has ended: everything that waits is trained, and the last report written."""

    @abstractmethod
    def close(self) -> None:
        """Let a checkpoint in flight end and close the files. May be called twice."""
