"""Everything that Penrose raises on purpose.

::

    PenroseError
    ├── ConfigError                 the job, a flag or a variable is wrong (lists every fault)
    ├── PluginError                 a plugin cannot be found, chosen, loaded or used
    │   ├── PluginNotFound          no installed distribution has this name
    │   ├── PluginConflict          two distributions have the same name
    │   ├── PluginBlocked           --block or --allow-dist forbids it
    │   ├── PluginBroken            loading it raised, or running it in a command of `penrose`
    │   └── PluginIncompatible      written for another plugin API, or not the right kind of object
    ├── DataError                   the stream does not hold what the job says
    │   ├── BadRow                  one row, under `bad_rows: fail`
    │   ├── SourceError             a datasource cannot read (missing file, truncated file, lost broker)
    │   └── WrongStream             a position belongs to another stream
    ├── SinkError                   rows cannot be written to where they are to go
    ├── TrainingError               the executor or a table failed
    │   └── NonFiniteLoss           the loss of a step is NaN or infinite
    ├── CheckpointError             a checkpoint cannot be written
    │   ├── CheckpointDamaged       a file is missing, short or altered
    │   ├── CheckpointNotFound      there is no such checkpoint
    │   └── Fenced                  a newer process has taken over this run
    ├── ExportDenied                a gate hook kept an export back
    └── RunDirectoryError           locked by another run, or not writable

Every exception says what failed, where, and what to type next; the parts are
also there as attributes, for programs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = [
    "BadRow",
    "CheckpointDamaged",
    "CheckpointError",
    "CheckpointNotFound",
    "ConfigError",
    "DataError",
    "ExportDenied",
    "Fenced",
    "NonFiniteLoss",
    "PenroseError",
    "PluginBlocked",
    "PluginBroken",
    "PluginConflict",
    "PluginError",
    "PluginIncompatible",
    "PluginNotFound",
    "RunDirectoryError",
    "SinkError",
    "SourceError",
    "TrainingError",
    "WrongStream",
]


class PenroseError(Exception):
    """The root of the tree: `message`, and `hint`, which says what to type next."""

    #: The process exit status of `penrose` when this error ends it.
    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # What Python does by itself, calling the class with `args`, fits no class with arguments of its own.
        return _as_it_was, (type(self), self.args, self.__dict__)


def _as_it_was(kind: type[PenroseError], args: tuple[object, ...], state: Mapping[str, object]) -> PenroseError:
    """An error that has come from another process of the same installation."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigError(PenroseError):
    """The job is not valid; `faults` lists every place and what is wrong there."""

    exit_code = 2

    def __init__(self, faults: Sequence[tuple[str, str]], *, hint: str | None = None) -> None:
        self.faults = tuple(faults)
        lines = "\n".join(f"  {place}: {fault}" for place, fault in self.faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(f"the job has {count}:\n{lines}", hint=hint)


class PluginError(PenroseError):
    """Something is wrong with a plugin: `kind`, `plugin`, and `dist` and `version` where known."""

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        plugin: str | None = None,
        kind: str | None = None,
        dist: str | None = None,
        version: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.plugin = plugin
        self.kind = kind
        self.dist = dist
        self.version = version


class PluginNotFound(PluginError):
    """No installed distribution provides a plugin of this kind and name."""


class PluginConflict(PluginError):
    """Two distributions provide the same kind and name."""


class PluginBlocked(PluginError):
    """The plugin is installed, but the user forbade it."""


class PluginBroken(PluginError):
    """Importing or creating the plugin raised, or running it in a command of `penrose`; the cause is chained."""


class PluginIncompatible(PluginError):
    """The plugin was written for another plugin API, or is not what its entry-point group asks for."""


class _AtRow(PenroseError):
    """Raised by a plugin that reads or writes rows: `plugin`, `partition` and `offset`, as far as they are known."""

    def __init__(
        self,
        message: str,
        *,
        plugin: str | None = None,
        partition: str | None = None,
        offset: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.plugin = plugin
        self.partition = partition
        self.offset = offset


class DataError(PenroseError):
    """The stream does not hold what the job says it holds."""

    exit_code = 4


class BadRow(DataError):
    """One row that cannot be used: `partition`, `offset`, `reason`."""

    def __init__(self, partition: str, offset: int, reason: str) -> None:
        super().__init__(
            f"bad row at partition {partition!r}, offset {offset}: {reason}",
            hint="to go on past bad rows, set `bad_rows: skip` (counted) or `bad_rows: dead-letter` (kept in a file)",
        )
        self.partition = partition
        self.offset = offset
        self.reason = reason


class SourceError(_AtRow, DataError):
    """A datasource cannot go on: `plugin`, `partition` and `offset` say where."""


class WrongStream(DataError):
    """A position belongs to another stream than the one that is open, or cannot be one of it."""


class SinkError(_AtRow):
    """A sink cannot take rows: `plugin`, and `partition` and `offset` of the row where one is the reason."""

    exit_code = 9


class TrainingError(PenroseError):
    """The executor or an embedding table failed in a step."""

    exit_code = 5


class NonFiniteLoss(TrainingError):
    """A loss or a gradient of one training step is NaN or infinite; nothing of the step was applied."""

    def __init__(self, sequence: int, losses: dict[str, float], offsets: Mapping[str, int]) -> None:
        shown = ", ".join(f"{head}={loss}" for head, loss in losses.items())
        which = "a gradient" if all(map(math.isfinite, losses.values())) else "the loss"
        super().__init__(
            f"{which} of step {sequence} is not finite ({shown}) at position {dict(offsets)}",
            hint="lower the learning rate, or choose `non_finite: skip` (leave the step out) or "
            "`non_finite: rollback` (go back to the last checkpoint and leave it out)",
        )
        self.sequence = sequence
        self.losses = losses
        self.offsets = dict(offsets)


class CheckpointError(PenroseError):
    """A checkpoint could not be written or used; `path` is the file or folder."""

    exit_code = 6

    def __init__(self, message: str, *, path: Path | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path


class CheckpointDamaged(CheckpointError):
    """A file of a checkpoint is missing, has another length, or another digest than its manifest says."""


class CheckpointNotFound(CheckpointError):
    """The run directory has no such checkpoint."""


class Fenced(CheckpointError):
    """A newer process has taken over this run; this one must not write."""


class ExportDenied(PenroseError):
    """A gate hook kept an export back; `reasons` lists (plugin, reason)."""

    exit_code = 7

    def __init__(self, reasons: Sequence[tuple[str, str]]) -> None:
        self.reasons = tuple(reasons)
        shown = "; ".join(f"{plugin}: {reason}" for plugin, reason in self.reasons)
        super().__init__(f"the export was denied by {shown}")


class RunDirectoryError(PenroseError):
    """The run directory is in use by another run, or cannot be written."""

    exit_code = 8

    def __init__(self, message: str, *, path: Path, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path


#: The most characters of an exception's own words.
_LENGTH = 500


def described(error: BaseException) -> str:
    """`TypeError: its words`: on one line, printable, cut where they are long."""
    words = " ".join(str(error).split())
    # Control characters would act on the terminal, or on the program that reads the log.
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words[:_LENGTH])
    if len(words) > _LENGTH:
        shown += f" … ({len(words) - _LENGTH:,} more characters)"
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__
