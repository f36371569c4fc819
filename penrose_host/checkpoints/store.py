"""The folder of checkpoints of one run: claiming it, finding, verifying, committing and retiring."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penrose_host.batch import Position
from penrose_host.checkpoints.disk import digest_file, sync_folder, write_atomic, write_failed
from penrose_host.checkpoints.fragments import FragmentWriter, PartReader, damaged
from penrose_host.checkpoints.manifest import CheckpointInfo, Manifest, canonical
from penrose_host.cluster import Role
from penrose_host.errors import CheckpointDamaged, CheckpointError, CheckpointNotFound, Fenced
from penrose_host.snapshots import CheckpointReader, FileRef

__all__ = ["Checkpoint", "CheckpointStore"]

MANIFEST = "manifest.json"
LATEST = "LATEST"
_ID = re.compile(r"(\d{8,})-e(\d+)")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that can be restored from: its manifest, and readers for its parts."""

    root: Path
    manifest: Manifest

    def reader(self, role: Role, index: int, part: str) -> CheckpointReader:
        """The files of one part of one role (of all parts, for ""). Every file is verified when it is read."""
        prefix = f"{role}-{index}/{part}/" if part else f"{role}-{index}/"
        files = {name.removeprefix(prefix): ref for name, ref in self.manifest.files.items() if name.startswith(prefix)}
        return PartReader(self.root, self.manifest.id, files)


class CheckpointStore:
    """All checkpoints of a run. One process at a time owns the run: the one that claimed the last epoch."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.epoch = 0

    # -- finding ----------------------------------------------------------------------------------

    def list(self) -> tuple[CheckpointInfo, ...]:
        """Every checkpoint of the run's line, oldest first. Raises CheckpointDamaged for an unreadable manifest."""
        return tuple(self._manifest(id).info() for id in self._ids())

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint; None where there is none. Raises CheckpointDamaged where it cannot be trusted."""
        ids = self._ids()
        pointer = self.root / LATEST
        named = pointer.read_text().strip() if pointer.exists() else ""
        if named and named not in ids and not self._superseded(named):
            raise damaged(self.root / named / MANIFEST, "it is gone, though this checkpoint was finished")
        return self.open(ids[-1]) if ids else None

    def open(self, id: str) -> Checkpoint:
        """The checkpoint `id` (or its external id), lengths verified.

        Raises CheckpointNotFound or CheckpointDamaged.
        """
        checkpoint = Checkpoint(self.root, self._manifest(self._resolve(id)))
        for ref in checkpoint.manifest.files.values():
            path = self.root / ref.checkpoint / ref.path
            if not path.is_file():
                raise damaged(path, "it is gone")
            if path.stat().st_size != ref.bytes:
                raise damaged(path, f"it has {path.stat().st_size} bytes instead of {ref.bytes}")
        return checkpoint

    def verify(self, id: str) -> None:
        """Read every byte of a checkpoint. Raises CheckpointDamaged naming the first file that is not right."""
        for ref in self.open(id).manifest.files.values():
            path = self.root / ref.checkpoint / ref.path
            try:
                length, digest = digest_file(path)
            except OSError as error:
                raise damaged(path, error.strerror or str(error)) from error
            if (length, digest) != (ref.bytes, ref.sha256):
                raise damaged(path, "its content is not what was written")

    # -- owning -----------------------------------------------------------------------------------

    def claim(self, restored_from: Checkpoint | None) -> int:
        """Take the run over: whoever owned it can no longer commit. Returns the new epoch. Raises CheckpointError."""
        folder = self.root / "epochs"
        sequence = restored_from.manifest.sequence if restored_from else 0
        body = canonical({"resumed_after": sequence, "from": restored_from.manifest.id if restored_from else None})
        try:
            folder.mkdir(parents=True, exist_ok=True)
            epoch = max(self._epochs(), default=0) + 1
            while True:
                draft = folder / f"claim-{os.getpid()}-{epoch}.tmp"
                draft.write_bytes(body)
                try:
                    # A hard link fails where the name exists: two claimers never get one epoch.
                    os.link(draft, folder / f"{epoch:08d}.json")
                    break
                except FileExistsError:
                    epoch += 1
                finally:
                    draft.unlink()
            sync_folder(folder)
        except OSError as error:
            raise write_failed(folder, error) from error
        self.epoch = epoch
        return epoch

    def begin(self, sequence: int) -> Path:
        """The folder of a new checkpoint, empty. Raises Fenced or CheckpointError."""
        self._check_owner()
        folder = self.root / f"{sequence:08d}-e{self.epoch}"
        try:
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
        except OSError as error:
            raise write_failed(folder, error) from error
        return folder

    def fragment(self, folder: Path, role: Role, index: int) -> FragmentWriter:
        """A writer for one role's files in `folder`."""
        return FragmentWriter(folder, role, index)

    def commit(
        self,
        folder: Path,
        files: Mapping[str, FileRef],
        *,
        rows: int,
        position: Position,
        job: Mapping[str, Any],
        external_id: str | None = None,
    ) -> Manifest:
        """Write the manifest: from here on the checkpoint exists. Raises Fenced or CheckpointError."""
        self._check_owner()
        sequence, epoch = _parse(folder.name)
        manifest = Manifest(folder.name, sequence, epoch, time.time(), rows, position, files, job, external_id)
        write_atomic(folder / MANIFEST, manifest.encode())
        write_atomic(self.root / LATEST, f"{folder.name}\n".encode())
        return manifest

    def retain(self, keep: int, *, pinned: str | None = None) -> None:
        """Remove all but the newest `keep` checkpoints and the pinned one: the unfinished, the superseded too.

        A file lives as long as any kept manifest lists it, whichever checkpoint it was written for.
        """
        kept = set(self._ids()[-keep:])
        if pinned is not None:
            kept.add(self._resolve(pinned))
        needed = {self.root / r.checkpoint / r.path for id in kept for r in self._manifest(id).files.values()}
        for folder in self._folders():
            if folder.name in kept:
                continue
            try:
                # The manifest goes first: a checkpoint without one does not exist.
                (folder / MANIFEST).unlink(missing_ok=True)
                for path in sorted(folder.rglob("*"), reverse=True):
                    if path.is_dir():
                        if not any(path.iterdir()):
                            path.rmdir()
                    elif path not in needed:
                        path.unlink()
                if not any(folder.iterdir()):
                    folder.rmdir()
            except OSError as error:
                raise CheckpointError(f"cannot remove the old checkpoint {folder}: {error}", path=folder) from error

    # -- inside -----------------------------------------------------------------------------------

    def _folders(self) -> Sequence[Path]:
        if not self.root.is_dir():
            return []
        return sorted((p for p in self.root.iterdir() if _ID.fullmatch(p.name)), key=lambda p: _parse(p.name))

    def _ids(self) -> Sequence[str]:
        """Ids with a manifest, in order, without those that a later life did not build on."""
        return [f.name for f in self._folders() if (f / MANIFEST).exists() and not self._superseded(f.name)]

    def _epochs(self) -> dict[int, int]:
        """Epoch → the sequence number after which its life went on."""
        epochs = {}
        for path in (self.root / "epochs").glob("*.json"):
            try:
                epochs[int(path.stem)] = int(json.loads(path.read_bytes())["resumed_after"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise CheckpointDamaged(
                    f"{path} is not readable: {error}",
                    path=path,
                    hint="the run's history is unknown; start a new run directory with --run-dir",
                ) from error
        return epochs

    def _superseded(self, id: str) -> bool:
        sequence, epoch = _parse(id)
        return any(later > epoch and sequence > after for later, after in self._epochs().items())

    def _check_owner(self) -> None:
        newest = max(self._epochs(), default=0)
        if newest != self.epoch:
            raise Fenced(
                f"this process owns epoch {self.epoch} of {self.root}, but epoch {newest} has taken over",
                path=self.root,
                hint="another process runs this job now; this one must stop",
            )

    def _manifest(self, id: str) -> Manifest:
        path = self.root / id / MANIFEST
        try:
            return Manifest.read(path)
        except FileNotFoundError as error:
            raise damaged(path, "it is gone") from error
        except OSError as error:
            raise damaged(path, error.strerror or str(error)) from error

    def _resolve(self, id: str) -> str:
        folders = [folder.name for folder in self._folders()]
        if id in folders:
            return id
        for folder in reversed(self._ids()):
            if self._manifest(folder).external_id == id:
                return folder
        raise CheckpointNotFound(
            f"{self.root} has no checkpoint {id!r}; it has {', '.join(folders) or 'none'}",
            path=self.root,
            hint=f"`penrose checkpoints list {self.root.parent}` shows what there is",
        )


def _parse(id: str) -> tuple[int, int]:
    match = _ID.fullmatch(id)
    if match is None:
        raise CheckpointNotFound(f"{id!r} is no checkpoint id", hint="an id looks like 00000012-e1")
    return int(match[1]), int(match[2])
