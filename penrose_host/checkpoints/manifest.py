"""The manifest: what a checkpoint is. It carries its own digest, so that no byte of it can change unseen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from penrose_host.contracts.batch import Position
from penrose_host.contracts.snapshots import FileRef
from penrose_host.errors import CheckpointDamaged

__all__ = ["CheckpointInfo", "Manifest", "canonical"]

FORMAT = 1


def canonical(data: Any) -> bytes:
    """The one way JSON is written where digests depend on it."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """One line of `penrose checkpoints list`; `bytes` counts reused files too, `created` is Unix time in seconds."""

    id: str
    number: int
    epoch: int
    created: float
    rows: int
    bytes: int
    position: Position
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """`files`: `<role>-<index>/<part>/<name>` → where its bytes are. `job`: what the state depends on."""

    id: str
    number: int
    epoch: int
    created: float
    rows: int
    position: Position
    files: Mapping[str, FileRef]
    job: Mapping[str, Any] = field(default_factory=dict)
    external_id: str | None = None

    def info(self) -> CheckpointInfo:
        """The short form."""
        total = sum(ref.bytes for ref in self.files.values())
        return CheckpointInfo(
            self.id, self.number, self.epoch, self.created, self.rows, total, self.position, self.external_id
        )

    def encode(self) -> bytes:
        """The content of `manifest.json`."""
        body = {
            "format": FORMAT,
            "id": self.id,
            "number": self.number,
            "epoch": self.epoch,
            "created": self.created,
            "rows": self.rows,
            "position": self.position.to_json(),
            "job": dict(self.job),
            "external_id": self.external_id,
            "files": {
                name: {"checkpoint": ref.checkpoint, "path": ref.path, "bytes": ref.bytes, "sha256": ref.sha256}
                for name, ref in self.files.items()
            },
        }
        return canonical({"manifest": body, "sha256": sha256(canonical(body)).hexdigest()}) + b"\n"

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read and verify. Raises CheckpointDamaged, FileNotFoundError where there is none."""
        data = path.read_bytes()
        try:
            wrapper = json.loads(data)
            body = wrapper["manifest"]
            if body["format"] != FORMAT:
                raise CheckpointDamaged(
                    f"{path} has format {body['format']}, this version of Penrose reads format {FORMAT}",
                    path=path,
                    hint="use the version of penrose-host that wrote it",
                )
            manifest = cls(
                id=body["id"],
                number=int(body["number"]),
                epoch=int(body["epoch"]),
                created=float(body["created"]),
                rows=int(body["rows"]),
                position=Position.from_json(body["position"]),
                files={name: FileRef(**ref) for name, ref in body["files"].items()},
                job=body["job"],
                external_id=body["external_id"],
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged(path) from error
        if manifest.encode() != data or manifest.id != path.parent.name:
            raise _damaged(path)
        return manifest


def _damaged(path: Path) -> CheckpointDamaged:
    return CheckpointDamaged(
        f"the manifest {path} is damaged: it is not what was written",
        path=path,
        hint="pick another checkpoint with --resume-from (`penrose checkpoints list RUN_DIR` shows them)",
    )
