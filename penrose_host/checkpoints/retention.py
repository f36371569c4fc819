"""Retention behind a run: old checkpoints that cannot be removed are told, and tried again; the run goes on."""

from __future__ import annotations

import logging

from penrose_host.checkpoints.store import CheckpointStore
from penrose_host.errors import CheckpointError

__all__ = ["Retention"]

_LOG = logging.getLogger("penrose.checkpoints")


class Retention:
    """Removes old checkpoints whenever a new one is durable."""

    def __init__(self, store: CheckpointStore, newest: int) -> None:
        """`newest`: so many checkpoints are kept."""
        self._store = store
        self._newest = newest
        self._told = ""

    def apply(self, *, pinned: str | None = None) -> None:
        """Remove all but the newest checkpoints and the pinned one.

        A new checkpoint is durable already, whatever becomes of old ones: what goes wrong is logged, once for as long
        as it stays the same, and the next call tries again.
        """
        try:
            self._store.retain(self._newest, pinned=pinned)
        except CheckpointError as error:
            if error.message != self._told:
                _LOG.warning("old checkpoints stay: %s; this is tried again with the next checkpoint", error.message)
            self._told = error.message
        else:
            self._told = ""
