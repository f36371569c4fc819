"""What runs inside a process under test: plugins that say in which phase it is, and stop it there to be killed.

The host has no code for this. Python's audit events tell which files it opens, renames and removes; the contracts
of plugins tell the rest. With FAULT_AIM set (JSON: `phase`, `count`, `tell`, `hold`) the process writes the phase to
the pipe `tell` when it is reached for the `count`-th time, and then waits at the pipe `hold` to be killed. The
phase "*" counts every phase; without `count` each phase is told as it comes, and nothing waits.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from fault_limits import impose
from pydantic import BaseModel, ConfigDict

from penrose_host import (
    Capability,
    CheckpointReader,
    Chunk,
    EncodedBatch,
    Executor,
    ExecutorContext,
    FilesSnapshot,
    HookPlugin,
    Position,
    Snapshot,
    SnapshotWriter,
    StepInfo,
    StepResult,
    hookimpl,
)
from penrose_host.datasources.files.options import FilesOptions
from penrose_host.datasources.files.source import FilesSource
from penrose_tensorflow.executor import TensorflowExecutor
from penrose_torch.executor import TorchExecutor

_CHECKPOINT = r"/checkpoints/\d{8}-e\d+"
#: Phase → audit event, what the path ends with, and whether a file is opened to be written.
PHASES: Mapping[str, tuple[str, str, bool]] = {
    "restore: reading the manifest": ("open", rf"{_CHECKPOINT}/manifest\.json", False),
    "restore: reading a part": ("open", rf"{_CHECKPOINT}/chief-0/(executor|tables|trainer)/.+", False),
    "recovery: claiming an epoch": ("open", r"/checkpoints/epochs/claim-.+\.tmp", True),
    "recovery: an epoch is claimed": ("os.remove", r"/checkpoints/epochs/claim-.+\.tmp", False),
    "recovery: cutting metrics.jsonl": ("os.truncate", r"/metrics\.jsonl", False),
    "recovery: metrics.jsonl is cut": ("os.truncate", r"/dead-letter\.jsonl", False),
    "recovery: removing predictions": ("os.remove", r"/predictions/part-.+", False),
    "checkpoint: its folder": ("os.mkdir", _CHECKPOINT, False),
    "checkpoint: writing the trainer's files": ("open", rf"{_CHECKPOINT}/chief-0/trainer/.+", True),
    "checkpoint: writing the executor's files": ("open", rf"{_CHECKPOINT}/chief-0/executor/.+", True),
    "checkpoint: writing a table": ("open", rf"{_CHECKPOINT}/chief-0/tables/.+", True),
    "checkpoint: writing a delta": ("open", rf"{_CHECKPOINT}/chief-0/tables/.+/000[1-9]-.+", True),
    "checkpoint: writing host.json": ("open", rf"{_CHECKPOINT}/chief-0/host\.json", True),
    "checkpoint: naming the predictions": ("os.rename", r"/predictions/part-\d+\.parquet\.tmp", False),
    "checkpoint: writing the fragment": ("open", rf"{_CHECKPOINT}/chief-0/fragment\.json", True),
    "checkpoint: all files, no manifest": ("open", rf"{_CHECKPOINT}/manifest\.json\.tmp", True),
    "checkpoint: manifest written, not named": ("os.rename", rf"{_CHECKPOINT}/manifest\.json\.tmp", False),
    "checkpoint: between manifest and commit": ("open", r"/checkpoints/LATEST\.tmp", True),
    "checkpoint: LATEST written, not named": ("os.rename", r"/checkpoints/LATEST\.tmp", False),
    "retention: the manifest goes": ("os.remove", rf"{_CHECKPOINT}/manifest\.json", False),
    "retention: files go": ("os.remove", rf"{_CHECKPOINT}/chief-0/.+", False),
    "retention: a folder goes": ("os.rmdir", rf"{_CHECKPOINT}/chief-0/.+", False),
}
_RULES = [(event, re.compile(f".*{path}"), write, phase) for phase, (event, path, write) in PHASES.items()]


class _Aim:
    """Counts phases; tells the parent; waits to be killed."""

    def __init__(self, aim: Mapping[str, Any]) -> None:
        self._phase, self._count = str(aim["phase"]), int(aim.get("count") or 0)
        self._tell, self._hold = int(aim["tell"]), int(aim["hold"])
        self._lock = threading.Lock()

    def reach(self, phase: str) -> None:
        if self._phase not in ("*", phase):
            return
        with self._lock:
            if self._count:
                self._count -= 1
                if self._count:
                    return
                self._phase = ""
        os.write(self._tell, f"{phase}\n".encode())
        if not self._phase:
            released = os.read(self._hold, 1)  # without a byte when the parent has ended
            if not released:
                os._exit(70)


def _watch(reach: Callable[[str], None]) -> None:
    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"):
            return
        path = arguments[0]
        if event == "os.truncate" and isinstance(path, int):
            path = str(Path(f"/proc/self/fd/{path}").readlink())
        if not isinstance(path, str | os.PathLike):
            return
        path = os.fspath(path)
        mode = arguments[1] if event == "open" else None
        write = isinstance(mode, str) and mode[0] in "wax"
        for wanted, pattern, to_write, phase in _RULES:
            if event == wanted and write == to_write and pattern.fullmatch(path):
                reach(phase)

    sys.addaudithook(audit)


if "FAULT_AIM" in os.environ:
    _AIM: _Aim | None = _Aim(json.loads(os.environ["FAULT_AIM"]))
    _watch(_AIM.reach)
else:
    _AIM = None
impose()


def reach(phase: str) -> None:
    """The process is in this phase now."""
    if _AIM is not None:
        _AIM.reach(phase)


# -- the source ----------------------------------------------------------------------------------


class StagedFilesOptions(FilesOptions):
    """`ledger`: the file where commits are noted, as a broker would."""

    ledger: str | None = None


class StagedFiles(FilesSource):
    """`files`, with commits: what was committed is never read again."""

    Options = StagedFilesOptions
    capabilities = FilesSource.capabilities | {Capability.COMMIT}
    options: StagedFilesOptions

    def open(self, assignment: Mapping[str, int | None]) -> None:
        reach("source: open")
        for name, offset in self._committed().items():
            # A broker may have dropped what was committed: starting before it would find a hole.
            assert (assignment.get(name) or 0) >= offset, f"{name}: {assignment} is behind the commit of {offset}"
        super().open(assignment)

    def read(self, max_rows: int, timeout: float) -> Chunk | None:
        reach("source: read")
        return super().read(max_rows, timeout)

    def commit(self, position: Position) -> None:
        reach("source: commit")
        if self.options.ledger is not None:
            with Path(self.options.ledger).open("a") as file:
                file.write(json.dumps(dict(position.offsets)) + "\n")

    def _committed(self) -> dict[str, int]:
        if self.options.ledger is None or not Path(self.options.ledger).exists():
            return {}
        lines = Path(self.options.ledger).read_text().splitlines()
        return dict(json.loads(lines[-1])) if lines else {}


# -- executors -----------------------------------------------------------------------------------


class _HalfWritten(SnapshotWriter):
    """Passes files on; says so before the second."""

    def __init__(self, writer: SnapshotWriter) -> None:
        self._writer = writer
        self._files = 0

    def add(self, name: str, data: Any) -> None:
        self._files += 1
        if self._files == 2:
            reach("snapshot: half of its files written")
        self._writer.add(name, data)

    def reuse(self, name: str, ref: Any) -> None:
        self._writer.reuse(name, ref)


class _StagedSnapshot(Snapshot):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def write(self, writer: SnapshotWriter) -> None:
        self._snapshot.write(_HalfWritten(writer))


#: Steps that training may be ahead of the checkpoint being written, and seconds that it then waits for it. Without
#: this a fast trainer writes few checkpoints, each with so many changed rows that no table is ever written in pieces.
#: Where writing is made to fail, the checkpoint never comes.
_STEPS_BESIDE = 8
_PATIENCE = 2.0 if any(name.startswith("FAULT_") and name != "FAULT_AIM" for name in os.environ) else 20.0
_named = threading.Event()
_named.set()  # nothing is being written yet


def _note_named(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "os.rename" and str(arguments[0]).endswith("/LATEST.tmp"):
        _named.set()


sys.addaudithook(_note_named)


class _Staged(Executor):
    """Says when the executor below scores, trains, copies its state and restores it."""

    def predict(self, batch: EncodedBatch) -> Mapping[str, Any]:
        reach("executor: predict")
        return super().predict(batch)  # type: ignore[safe-super]

    _steps = 0

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        reach("executor: train")
        self._steps += 1
        if self._steps == _STEPS_BESIDE:
            _named.wait(_PATIENCE)
        return super().train(batch, step)  # type: ignore[safe-super]

    def snapshot(self) -> Snapshot:
        self._steps = 0
        _named.clear()
        snapshot = super().snapshot()  # type: ignore[safe-super]
        reach("snapshot: being taken")
        return _StagedSnapshot(snapshot)

    def restore(self, reader: CheckpointReader) -> None:
        reach("restore: the executor")
        super().restore(reader)  # type: ignore[safe-super]


class StagedTorch(_Staged, TorchExecutor):
    """The PyTorch executor, unchanged."""


class StagedTensorflow(_Staged, TensorflowExecutor):
    """The TensorFlow executor, unchanged."""


class CountingOptions(BaseModel):
    """`rows`: there are this many, numbered from 0 (0: no row is counted); `broken_steps` have no finite loss."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    rows: int = 100_000
    broken_steps: tuple[int, ...] = ()


class _Counting(Executor):
    api_version = 1
    Options = CountingOptions

    def setup(self, context: ExecutorContext) -> None:
        self._heads = context.features.labels
        self._counts = np.zeros(self.options.rows, dtype=np.int32)
        self._trained = 0

    def predict(self, batch: EncodedBatch) -> Mapping[str, Any]:
        score = np.float32(1 / (2 + self._trained))
        return {head: np.full(len(batch), score, dtype=np.float32) for head in self._heads}

    def train(self, batch: EncodedBatch, step: StepInfo) -> StepResult:
        scores = _Counting.predict(self, batch)
        if step.sequence in self.options.broken_steps:
            return StepResult(dict.fromkeys(self._heads, float("nan")), scores, applied=False)
        if self.options.rows:
            np.add.at(self._counts, batch.numeric["row"].astype(np.int64), 1)
        self._trained += len(batch)
        return StepResult(dict.fromkeys(self._heads, 0.25), scores)

    def snapshot(self) -> Snapshot:
        return FilesSnapshot({"trained.json": json.dumps(self._trained).encode(), "counts.bin": self._counts.tobytes()})

    def restore(self, reader: CheckpointReader) -> None:
        self._trained = json.loads(reader.read("trained.json"))
        self._counts = np.frombuffer(reader.read("counts.bin"), dtype=np.int32).copy()

    def export(self, directory: Path) -> None:
        (directory / "counts.bin").write_bytes(self._counts.tobytes())

    def close(self) -> None:
        pass


class Counting(_Staged, _Counting):
    """Counts how often each row was trained; the counts are its checkpointed state."""


# -- a hook --------------------------------------------------------------------------------------


class StagedHook(HookPlugin):
    """Says when a report or a checkpoint is there."""

    api_version = 1

    @hookimpl
    def reported(self, metrics: Mapping[str, Any]) -> None:
        reach("report: the last one" if metrics["final"] else "report")

    @hookimpl
    def checkpoint_written(self, checkpoint: str) -> None:
        reach("checkpoint: told")
