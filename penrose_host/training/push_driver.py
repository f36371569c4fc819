"""The push driver: for engines that own the loop (Ray, Beam, any stream processor) and push chunks into the core.

The engine's positions and checkpoint ids are its own. It calls `process` with chunks, in order within each
partition; `snapshot` when it takes a checkpoint of its own; `committed` or `aborted` when it knows how that
ended; and `finish` at the end of the stream. After a failure it opens the operator again with the id of its
last committed checkpoint, and pushes what came after that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from penrose_host.contracts.batch import Chunk, Position

if TYPE_CHECKING:
    from penrose_host.checkpoints import Manifest
    from penrose_host.features.encoder import FeatureEncoder
    from penrose_host.training.session import Session

__all__ = ["Operator"]


class Operator:
    """Drives a session with pushed chunks; all calls come from one thread at a time."""

    def __init__(self, session: Session, encoder: FeatureEncoder, partitions: Iterable[str] = ()) -> None:
        """`partitions`: those that an event-time merge waits for before it lets the first row go."""
        self._session = session
        self._encoder = encoder
        self._finished = False
        session.trainer.merge.assign(partitions)

    @property
    def session(self) -> Session:
        """Metrics, progress and the core itself."""
        return self._session

    @property
    def finished(self) -> bool:
        """Whether the engine said that the stream has ended."""
        return self._finished

    def assign(self, partitions: Iterable[str]) -> None:
        """More partitions take part."""
        self._session.trainer.merge.assign(partitions)

    def process(self, chunk: Chunk) -> None:
        """Take a chunk and work through every micro-batch that is complete with it."""
        rows, rejects = self._encoder.encode(chunk)
        self._session.take(rows if len(rows) else None, rejects)
        self._work()

    def end(self, partitions: Iterable[str]) -> None:
        """These partitions will give no more rows."""
        self._session.trainer.end(partitions)
        self._work()

    def snapshot(self, id: str, position: Position) -> None:
        """Freeze this instant under the engine's id and position; it is written behind.

        Rows that were pushed and not yet scored are part of it: the engine will not push them again.
        """
        self._session.poll(wait=True)
        self._session.checkpoint(position=position, external_id=id)

    def durable(self) -> Manifest | None:
        """Wait until the last snapshot is durable; only then may the engine commit its own checkpoint."""
        self._session.poll(wait=True)
        return self._session.last_checkpoint

    def committed(self, id: str) -> None:
        """The engine's checkpoint is durable: ours of that id is kept until the next one is committed."""
        self._session.pin(id)

    def aborted(self, id: str) -> None:
        """The engine gave its checkpoint up; ours may stay on disk, and is never restored unless asked for."""
        self._session.unpin(id)

    def close(self) -> None:
        """Let a checkpoint in flight end and close the files. May be called twice."""
        self._session.close()

    def finish(self) -> None:
        """The stream has ended: everything that waits is trained, and the last report written."""
        if not self._finished:
            self._finished = True
            self._session.trainer.end()
            self._work()
            self._session.settle(everything=True)
            self._session.report(final=True)

    def _work(self) -> None:
        while self._session.work():
            self._session.poll()
