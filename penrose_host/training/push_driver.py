"""The push driver: for engines that own the loop (Ray, Beam, any stream processor) and push chunks into the core."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from penrose_host.contracts.operator import Operator
from penrose_host.errors import NonFiniteLoss, PenroseError

if TYPE_CHECKING:
    from penrose_host.config.job import Until
    from penrose_host.contracts.batch import Chunk, Position
    from penrose_host.features.encoder import FeatureEncoder
    from penrose_host.training.rollback import RollbackPolicy
    from penrose_host.training.session import Session

__all__ = ["PushDriver"]


class PushDriver(Operator):
    """Drives a session with pushed chunks."""

    def __init__(
        self,
        session: Session,
        encoder: FeatureEncoder,
        until: Until,
        rollback: RollbackPolicy,
        partitions: Iterable[str] = (),
    ) -> None:
        """`partitions`: those that an event-time merge waits for before it lets the first row go."""
        self._session = session
        self._encoder = encoder
        self._until = until
        self._rollback = rollback
        self._finished = False
        self._done = False
        session.trainer.merge.assign(partitions)

    @property
    def session(self) -> Session:
        """Metrics, progress and the core itself."""
        return self._session

    @property
    def finished(self) -> bool:
        return self._finished

    @property
    def done(self) -> bool:
        return self._done

    def assign(self, partitions: Iterable[str]) -> None:
        self._session.trainer.merge.assign(partitions)

    def process(self, chunk: Chunk) -> None:
        self._refuse_more("a chunk")
        rows, rejects = self._encoder.encode(chunk)
        self._session.take(rows if len(rows) else None, rejects)
        self._work()

    def end(self, partitions: Iterable[str]) -> None:
        self._session.trainer.end(partitions)
        self._work()

    def snapshot(self, id: str, position: Position) -> None:
        self._session.poll(wait=True)
        self._session.checkpoint(position=position, external_id=id)

    def durable(self) -> str | None:
        self._session.poll(wait=True)
        last = self._session.last_checkpoint
        return None if last is None else last.id

    def committed(self, id: str) -> None:
        self._session.poll(wait=True)
        self._session.pin(id)

    def aborted(self, id: str) -> None:
        self._session.unpin(id)

    def close(self) -> None:
        self._session.close()

    def finish(self) -> None:
        if self._finished:
            return
        self._refuse_more("the end of the stream")
        self._finished = True
        self._session.trainer.end()
        self._work()
        if not self._done:
            self._session.settle(everything=True)
            self._session.report(final=True)

    def _refuse_more(self, what: str) -> None:
        if self._done:
            raise PenroseError(
                f"the run has come to its `until`, and {what} was pushed into it",
                hint="push only while `operator.done` is false; to go on, open the operator again with a later `until`",
            )

    def _work(self) -> None:
        until, session = self._until, self._session
        try:
            while not session.reached(until):
                if not session.work(until.rows, until.event_time):
                    return
                session.poll()
        except NonFiniteLoss as error:
            if self._rollback.goes_back(error):
                # The rows are the engine's: only it can push them again.
                error.hint = (
                    "open the operator again, on the same runtime, with `resume_from` the engine's last committed "
                    "checkpoint, and push what came after it: this step is left out then"
                )
            raise
        self._done = True
        session.report()
