"""Fragments: the files that one role writes into a checkpoint, and reading them back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from penrose_host.checkpoints.manifest import canonical
from penrose_host.contracts.cluster import Role
from penrose_host.contracts.snapshots import Buffer, CheckpointReader, FileRef, SnapshotRef, SnapshotWriter
from penrose_host.errors import CheckpointDamaged, CheckpointError
from penrose_host.storage.durable_files import sync_folder, write_file
from penrose_host.storage.write_errors import write_errors

__all__ = ["FragmentWriter", "PartReader", "read_fragment", "read_verified"]

FRAGMENT = "fragment.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


class FragmentWriter:
    """Writes the files of one role into the folder of a checkpoint that has no manifest yet."""

    def __init__(self, folder: Path, role: Role, index: int) -> None:
        self._checkpoint = folder.name
        self._folder = folder
        self._prefix = f"{role}-{index}"
        self._files: dict[str, FileRef] = {}

    def part(self, name: str) -> SnapshotWriter:
        """Where the snapshot of one part (`executor`, `table/…`) writes."""
        return _PartWriter(self, name)

    def add(self, name: str, data: Buffer | Iterable[Buffer]) -> None:
        """A new file of this fragment. Raises CheckpointError."""
        path = f"{self._prefix}/{self._new(name)}"
        length, digest = self._write(path, data)
        self._files[name] = FileRef(self._checkpoint, path, length, digest)

    def reuse(self, name: str, ref: FileRef) -> None:
        """A file that an earlier checkpoint holds. Raises CheckpointError where it is no longer there."""
        path = self._folder.parent / ref.checkpoint / ref.path
        if not path.is_file() or path.stat().st_size != ref.bytes:
            raise CheckpointError(f"{path}, which this checkpoint builds on, is gone", path=path)
        self._files[self._new(name)] = ref

    def close(self) -> Mapping[str, FileRef]:
        """Write `fragment.json` and make all names durable; returns `<role>-<index>/<name>` → file, itself too."""
        listing = {name: _plain(ref) for name, ref in sorted(self._files.items())}
        path = f"{self._prefix}/{FRAGMENT}"
        length, digest = self._write(path, canonical(listing))
        with write_errors(CheckpointError, self._folder):
            # Of the files written here only: where every file of a part is reused, it has no folder here.
            own = [Path(ref.path) for ref in self._files.values() if ref.checkpoint == self._checkpoint]
            for folder in {parent for file in [*own, Path(path)] for parent in file.parents}:
                sync_folder(self._folder / folder)
            sync_folder(self._folder.parent)
        files = {f"{self._prefix}/{name}": ref for name, ref in self._files.items()}
        files[path] = FileRef(self._checkpoint, path, length, digest)
        return files

    def _write(self, path: str, data: Buffer | Iterable[Buffer]) -> tuple[int, str]:
        with write_errors(CheckpointError, self._folder / path):
            return write_file(self._folder / path, data)

    def _new(self, name: str) -> str:
        if not _NAME.fullmatch(name) or name == FRAGMENT:
            raise CheckpointError(f"{name!r} is no name for a file of a checkpoint")
        if name in self._files:
            raise CheckpointError(f"the file {name!r} was written twice into one checkpoint")
        return name


class _PartWriter(SnapshotWriter):
    def __init__(self, fragment: FragmentWriter, part: str) -> None:
        self._fragment = fragment
        self._part = part

    def add(self, name: str, data: Buffer | Iterable[Buffer]) -> None:
        self._fragment.add(f"{self._part}/{name}", data)

    def reuse(self, name: str, ref: FileRef) -> None:
        self._fragment.reuse(f"{self._part}/{name}", ref)


class PartReader(CheckpointReader):
    """The files of one part of one role's fragment."""

    def __init__(self, root: Path, checkpoint: str, files: Mapping[str, FileRef]) -> None:
        self._root = root
        self._files = dict(sorted(files.items()))
        self._ref = SnapshotRef(checkpoint, self._files)

    @property
    def ref(self) -> SnapshotRef:
        return self._ref

    def names(self) -> Sequence[str]:
        return tuple(self._files)

    def read(self, name: str) -> bytes:
        ref = self._files.get(name)
        if ref is None:
            raise CheckpointDamaged(
                f"checkpoint {self._ref.checkpoint} has no file {name!r} here; it has {list(self._files)}",
                hint="the plugin that wrote it is of another version, or another plugin",
            )
        return read_verified(self._root, ref)


def read_verified(root: Path, ref: FileRef) -> bytes:
    """The content of a file, if it is exactly what was written. Raises CheckpointDamaged naming the file."""
    path = root / ref.checkpoint / ref.path
    try:
        data = path.read_bytes()
    except OSError as error:
        raise damaged(path, error.strerror or str(error)) from error
    if len(data) != ref.bytes:
        raise damaged(path, f"it has {len(data)} bytes instead of {ref.bytes}")
    if sha256(data).hexdigest() != ref.sha256:
        raise damaged(path, "its content is not what was written")
    return data


def read_fragment(folder: Path, role: Role, index: int) -> Mapping[str, FileRef]:
    """The files of a fragment that another process wrote, from its `fragment.json`; for the chief."""
    path = f"{role}-{index}/{FRAGMENT}"
    try:
        data = (folder / path).read_bytes()
        files = {f"{role}-{index}/{name}": FileRef(**ref) for name, ref in json.loads(data).items()}
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"the fragment of {role} {index} is not readable: {error}", path=folder / path) from error
    files[path] = FileRef(folder.name, path, len(data), sha256(data).hexdigest())
    return files


def damaged(path: Path, why: str) -> CheckpointDamaged:
    """What to raise for a file of a checkpoint that cannot be trusted."""
    return CheckpointDamaged(
        f"the checkpoint file {path} is damaged: {why}",
        path=path,
        hint="pick another checkpoint with --resume-from (`penrose checkpoints list RUN_DIR` shows them)",
    )


def _plain(ref: FileRef) -> dict[str, str | int]:
    return {"checkpoint": ref.checkpoint, "path": ref.path, "bytes": ref.bytes, "sha256": ref.sha256}
