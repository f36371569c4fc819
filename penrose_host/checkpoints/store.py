"""The checkpoints of one run: finding, verifying, claiming, writing, and removing old ones."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penrose_host.checkpoints.epochs import Epochs, is_id, parse_id, superseded
from penrose_host.checkpoints.fragments import FRAGMENT, FragmentWriter, PartReader, damaged, read_verified
from penrose_host.checkpoints.manifest import CheckpointInfo, Manifest
from penrose_host.contracts.batch import Position
from penrose_host.contracts.cluster import Role
from penrose_host.contracts.snapshots import CheckpointReader, FileRef
from penrose_host.errors import CheckpointDamaged, CheckpointError, CheckpointNotFound
from penrose_host.storage.durable_files import digest_file, write_atomic
from penrose_host.storage.write_errors import write_errors

__all__ = ["Checkpoint", "CheckpointStore"]

MANIFEST = "manifest.json"
LATEST = "LATEST"


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
        self._epochs = Epochs(root / "epochs")

    @property
    def epoch(self) -> int:
        """The epoch that `claim` took, 0 before."""
        return self._epochs.own

    # -- finding ----------------------------------------------------------------------------------

    def ids(self) -> Sequence[str]:
        """Every checkpoint that no later epoch left behind, oldest first, readable or not."""
        epochs = self._epochs.read()
        return [f.name for f in self._folders() if (f / MANIFEST).exists() and not superseded(f.name, epochs)]

    def list(self) -> tuple[CheckpointInfo, ...]:
        """All of them in short. Raises CheckpointDamaged for an unreadable manifest."""
        return tuple(self.info(id) for id in self.ids())

    def info(self, id: str) -> CheckpointInfo:
        """One of them in short. Raises CheckpointDamaged."""
        return self._manifest(id).info()

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint; None where there is none. Raises CheckpointDamaged where it cannot be trusted."""
        self.check_latest()
        ids = self.ids()
        return self.open(ids[-1]) if ids else None

    def check_latest(self) -> None:
        """Raises CheckpointDamaged where the last checkpoint that was finished has lost its manifest."""
        latest = self._latest_id()
        while latest and latest not in self.ids() and not superseded(latest, self._epochs.read()):
            before, latest = latest, self._latest_id()
            if latest == before:  # it was not replaced while we looked
                raise damaged(self.root / latest / MANIFEST, "it is gone, though this checkpoint was finished")

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
            if ref.path.endswith(f"/{FRAGMENT}"):  # the one file that restoring does not read, and so verify
                read_verified(self.root, ref)
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
        if restored_from is None:
            return self._epochs.claim(0, None)
        return self._epochs.claim(restored_from.manifest.number, restored_from.manifest.id)

    def sweep(self) -> None:
        """Remove what earlier epochs left unfinished; for who has claimed the run. Raises CheckpointError."""
        self._epochs.sweep()
        epochs = self._epochs.read()
        for folder in self._folders():
            if not (folder / MANIFEST).exists() and superseded(folder.name, epochs):
                with write_errors(CheckpointError, folder, doing="remove the unfinished checkpoint"):
                    shutil.rmtree(folder)

    def begin(self, number: int) -> Path:
        """Make the folder of a new checkpoint, which replaces whatever has its name. Raises Fenced, CheckpointError."""
        self._epochs.check_owner()
        folder = self.root / f"{number:08d}-e{self.epoch}"
        with write_errors(CheckpointError, folder):
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
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
        self._epochs.check_owner()
        number, epoch = parse_id(folder.name)
        manifest = Manifest(folder.name, number, epoch, time.time(), rows, position, files, job, external_id)
        for path, data in ((folder / MANIFEST, manifest.encode()), (self.root / LATEST, f"{folder.name}\n".encode())):
            with write_errors(CheckpointError, path):
                write_atomic(path, data)
        return manifest

    def retain(self, newest: int, *, pinned: str | None = None) -> None:
        """Remove all but so many of the newest checkpoints and the pinned one: unfinished and superseded ones too.

        A file stays as long as any kept manifest lists it, whichever checkpoint it was written for. Where something
        cannot be removed, all else is; then CheckpointError names the first such folder. Raises CheckpointDamaged
        where a kept manifest cannot be read: nothing is removed then.
        """
        kept = set(self.ids()[-newest:])
        if pinned is not None:
            kept.add(self._resolve(pinned))
        needed = {self.root / r.checkpoint / r.path for id in kept for r in self._manifest(id).files.values()}
        failures: list[CheckpointError] = []
        for folder in self._folders():
            if folder.name in kept:
                continue
            try:
                _remove_all_but(needed, folder)
            except OSError as error:
                failures.append(
                    CheckpointError(
                        f"cannot remove the old checkpoint {folder}: {error.strerror or error}", path=folder
                    )
                )
                failures[-1].__cause__ = error
        if failures:
            raise failures[0]

    # -- inside -----------------------------------------------------------------------------------

    def _folders(self) -> Sequence[Path]:
        if not self.root.is_dir():
            return []
        return sorted((p for p in self.root.iterdir() if is_id(p.name)), key=lambda p: parse_id(p.name))

    def _latest_id(self) -> str:
        """The id that LATEST names; empty where there is no such file. Raises CheckpointDamaged."""
        path = self.root / LATEST
        try:
            latest = path.read_bytes().decode("ascii", "replace").strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise damaged(path, error.strerror or str(error)) from error
        if not is_id(latest):
            raise damaged(path, "its content is not what was written")
        return latest

    def _manifest(self, id: str) -> Manifest:
        path = self.root / id / MANIFEST
        try:
            return Manifest.read(path)
        except FileNotFoundError as error:
            raise damaged(path, "it is gone") from error
        except OSError as error:
            raise damaged(path, error.strerror or str(error)) from error

    def _resolve(self, id: str) -> str:
        ids, folders = self.ids(), [folder.name for folder in self._folders()]
        if id in ids or (id in folders and not (self.root / id / MANIFEST).exists()):
            return id
        if id in folders:
            raise CheckpointNotFound(
                f"checkpoint {id} of {self.root} was left behind: the run went back to an earlier one since then",
                path=self.root / id,
                hint=f"`penrose checkpoints list {self.root.parent}` shows what there is",
            )
        unreadable: CheckpointDamaged | None = None
        for name in reversed(ids):
            try:
                if self._manifest(name).external_id == id:
                    return name
            except CheckpointDamaged as error:
                unreadable = unreadable or error
        if unreadable is not None:
            raise unreadable
        raise CheckpointNotFound(
            f"{self.root} has no checkpoint {id!r}; it has {', '.join(ids) or 'none'}",
            path=self.root,
            hint=f"`penrose checkpoints list {self.root.parent}` shows what there is",
        )


def _remove_all_but(needed: Collection[Path], folder: Path) -> None:
    """Remove a checkpoint's files, but for those that others need. Raises OSError."""
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
