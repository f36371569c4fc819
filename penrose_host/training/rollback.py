"""`non_finite: rollback`: whether a run goes back after a step that is not finite, and what it leaves out then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from penrose_host.errors import NonFiniteLoss

__all__ = ["RollbackPolicy"]

T = TypeVar("T")
#: A job that has to go back this often has a problem that going back does not mend.
MAX_ROLLBACKS = 10


class RollbackPolicy:
    """Goes back at most `limit` times, once for each step; `skip` are the steps that are left out from then on."""

    def __init__(self, *, wanted: bool, limit: int = MAX_ROLLBACKS) -> None:
        self._wanted = wanted
        self._limit = limit
        self._skip: set[int] = set()

    @property
    def skip(self) -> frozenset[int]:
        """Sequence numbers of the steps to leave out; what was learned since the checkpoint is learned anew."""
        return frozenset(self._skip)

    def goes_back(self, error: NonFiniteLoss) -> bool:
        """Whether the run may go back for this step; it is left out from now on, if so."""
        if not self._wanted or error.sequence in self._skip or len(self._skip) >= self._limit:
            return False
        self._skip.add(error.sequence)
        return True

    def run(self, life: Callable[[], T], on_rollback: Callable[[NonFiniteLoss], None]) -> T:
        """The result of a life of the run that was not ended by such a step. Raises what ended it otherwise."""
        while True:
            try:
                return life()
            except NonFiniteLoss as error:
                if not self.goes_back(error):
                    raise
                on_rollback(error)
