"""Epochs: who starts or resumes a run claims the next one, and says after which checkpoint. The last owns the run."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from penrose_host.checkpoints.manifest import canonical
from penrose_host.errors import CheckpointDamaged, CheckpointError, CheckpointNotFound, Fenced
from penrose_host.storage.durable_files import make_folder, sync_folder, write_file
from penrose_host.storage.write_errors import write_errors

__all__ = ["Epochs", "is_id", "parse_id", "superseded"]

_DRAFT = re.compile(r"claim-\d+-(\d+)\.tmp")
_ID = re.compile(r"(\d{8,})-e(\d+)")


class Epochs:
    """One small file for each epoch, made once and never changed. `own` is 0 before `claim`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own = 0
        self._claim = b""
        self._known: dict[int, int] = {}

    def read(self) -> Mapping[int, int]:
        """Epoch → the number of the checkpoint that it resumed from, 0 for none. Raises CheckpointDamaged."""
        epochs = {}
        for path in self.folder.glob("*.json"):
            try:
                epoch = int(path.stem)
                if epoch not in self._known:
                    self._known[epoch] = _resumed_after(path.read_bytes())
                epochs[epoch] = self._known[epoch]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise _unknown_history(path, f"is not readable: {error}") from error
        missing = set(range(1, max(epochs, default=0))) - epochs.keys()
        if missing:
            raise _unknown_history(self._path(min(missing)), "is gone")
        return epochs

    def claim(self, number: int, origin: str | None) -> int:
        """Take the run over, going on from the checkpoint `origin`; returns the new epoch. Raises CheckpointError."""
        body = canonical({"resumed_after": number, "from": origin, "owner": secrets.token_hex(8)})
        with write_errors(CheckpointError, self.folder):
            make_folder(self.folder)
            epoch = max(self.read(), default=0) + 1
            while True:
                draft = self.folder / f"claim-{os.getpid()}-{epoch}.tmp"
                try:
                    with write_errors(CheckpointError, draft):
                        write_file(draft, body)
                    # A hard link fails where the name exists: two claimers never get one epoch.
                    os.link(draft, self._path(epoch))
                    break
                except (FileExistsError, FileNotFoundError):
                    # Taken; or swept, by one who has taken it.
                    epoch += 1
                finally:
                    draft.unlink(missing_ok=True)
            sync_folder(self.folder)
        self.own, self._claim = epoch, body
        return epoch

    def sweep(self) -> None:
        """Remove drafts that killed processes left: of epochs that are taken, so that no living claim needs them."""
        for draft in self.folder.glob("claim-*.tmp"):
            match = _DRAFT.fullmatch(draft.name)
            if match is not None and int(match[1]) <= self.own:
                with write_errors(CheckpointError, draft, doing="remove"):
                    draft.unlink(missing_ok=True)

    def check_owner(self) -> None:
        """Raises Fenced where another process has claimed the run since, CheckpointError where the run is gone."""
        own = self._path(self.own)
        try:
            newest = max((int(path.stem) for path in self.folder.glob("*.json") if path.stem.isdigit()), default=0)
            still = own.read_bytes() == self._claim
        except OSError as error:
            raise CheckpointError(
                f"{own} is gone: the run directory was removed or replaced under this process",
                path=own,
                hint="put the run directory back, or start the run anew",
            ) from error
        if newest != self.own or not still:
            raise Fenced(
                f"this process owns epoch {self.own} of {self.folder.parent}, "
                f"but another process has taken over (epoch {newest})",
                path=self.folder,
                hint="another process runs this job now; this one must stop",
            )

    def _path(self, epoch: int) -> Path:
        return self.folder / f"{epoch:08d}.json"


def is_id(name: str) -> bool:
    """Whether this can be the id of a checkpoint."""
    return _ID.fullmatch(name) is not None


def parse_id(id: str) -> tuple[int, int]:
    """Number and epoch. Raises CheckpointNotFound for what is no id."""
    match = _ID.fullmatch(id)
    if match is None:
        raise CheckpointNotFound(f"{id!r} is no checkpoint id", hint="an id looks like 00000012-e1")
    return int(match[1]), int(match[2])


def superseded(id: str, epochs: Mapping[int, int]) -> bool:
    """Whether a later epoch resumed from an earlier checkpoint than this one."""
    number, epoch = parse_id(id)
    return any(later > epoch and number > after for later, after in epochs.items())


def _resumed_after(data: bytes) -> int:
    """What a claim says. Raises ValueError, KeyError or TypeError where it is none, or contradicts itself."""
    claim = json.loads(data)
    after, origin = int(claim["resumed_after"]), claim["from"]
    match = _ID.fullmatch(origin) if origin is not None else None
    if after != (int(match[1]) if match else 0):
        raise ValueError(f"it says both {after} and {origin}")
    return after


def _unknown_history(path: Path, what: str) -> CheckpointDamaged:
    return CheckpointDamaged(
        f"{path} {what}", path=path, hint="the run's history is unknown; start a new run directory with --run-dir"
    )
