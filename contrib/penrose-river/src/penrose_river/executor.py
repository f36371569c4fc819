"""The entry module: an executor that imports River when it is set up, and not before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penrose_host import Capability
from penrose_host.executors import LateExecutor, LearnerParts
from penrose_river.options import RiverOptions

if TYPE_CHECKING:
    from penrose_host import ExecutorContext

__all__ = ["RiverExecutor"]


class RiverExecutor(LateExecutor):
    """Trains an online model of River, or a pipeline of the user's, row by row."""

    api_version = 1
    Options = RiverOptions
    capabilities = frozenset({Capability.SINGLE_WORKER})

    def build(self, context: ExecutorContext) -> LearnerParts:
        from penrose_river.models import build
        from penrose_river.state import export, restore, snapshot

        return LearnerParts(build(self.options, context), snapshot, restore, export)
