"""Reading a checkpoint of a run that may be going on, and may remove it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from penrose_host.checkpoints.store import Checkpoint, CheckpointStore
from penrose_host.errors import CheckpointDamaged, CheckpointNotFound

__all__ = ["read_checkpoint"]

T = TypeVar("T")
#: So often the newest checkpoint may be removed just as it is read, before we give up.
ATTEMPTS = 10


def read_checkpoint(run_dir: Path, id: str | None, read: Callable[[Checkpoint], T]) -> T:
    """What `read` makes of the checkpoint `id` of a run (None: the newest). Nothing in `run_dir` is changed.

    Where the run removes the newest checkpoint while it is read, `read` is called again with the next newest.
    Raises CheckpointNotFound, CheckpointDamaged.
    """
    store = CheckpointStore(run_dir / "checkpoints")
    for _ in range(ATTEMPTS):
        newest = store.ids()[-1:]
        try:
            return read(_found(store, id))
        except CheckpointDamaged as error:
            # Retention removes nothing before there is something newer: what is gone otherwise was not removed by it.
            if store.ids()[-1:] == newest:
                raise
            if id is not None:
                raise _removed(store, f"checkpoint {id}") from error
    raise _removed(store, f"each of {ATTEMPTS} checkpoints in turn")


def _found(store: CheckpointStore, id: str | None) -> Checkpoint:
    checkpoint = store.open(id) if id is not None else store.latest()
    if checkpoint is None:
        raise CheckpointNotFound(
            f"{store.root.parent} has no checkpoint",
            path=store.root,
            hint="train the job first with `penrose run`, or give its directory with --run-dir",
        )
    return checkpoint


def _removed(store: CheckpointStore, what: str) -> CheckpointNotFound:
    return CheckpointNotFound(
        f"the run in {store.root.parent} removed {what} while it was read",
        path=store.root,
        hint="start the command again without --checkpoint, or have the run keep more with `checkpoint.keep`",
    )
