"""What happens in a run, as events: whoever works tells them, and the terminal, the hooks and others listen.

An event knows its `kind`, a `message` for people and `facts` for machines. Listeners are called one after the
other, on the thread that tells; what one raises ends the run, so a listener that must not do that guards itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from penrose_host.errors import described

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Reject
    from penrose_host.contracts.environment import RunResult
    from penrose_host.contracts.run_spec import RunSpec

__all__ = [
    "BadRows",
    "CheckpointWritten",
    "Event",
    "Events",
    "ExportSkipped",
    "Exported",
    "HookFailed",
    "Listener",
    "Logged",
    "Noted",
    "Opened",
    "Progressed",
    "Reported",
    "RolledBack",
    "RunEnded",
    "RunStarted",
    "Status",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    kind: ClassVar[str] = "event"

    def message(self) -> str:
        """What a person reads; empty where there is nothing to say."""
        return ""

    def facts(self) -> dict[str, Any]:
        """What a machine reads, in JSON types."""
        return {}


@dataclass(frozen=True, slots=True)
class Opened(Event):
    """A life of the run begins at `rows`; `checkpoint`: the one it goes on from."""

    rows: int
    checkpoint: str | None = None
    kind: ClassVar[str] = "resumed"

    def message(self) -> str:
        if self.checkpoint is None:
            return ""
        return f"resumed from checkpoint {self.checkpoint} at row {self.rows:,}"

    def facts(self) -> dict[str, Any]:
        return {"id": self.checkpoint}


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """Nothing more can be found wrong: rows come next."""

    spec: RunSpec
    kind: ClassVar[str] = "started"


@dataclass(frozen=True, slots=True)
class Status:
    """How a run stands: what a live view shows. `lag` is (rows, by partition) or None; `checkpoint` (id, time)."""

    rows: int
    waiting: int
    bad_rows: int
    loss: float | None
    metrics: Mapping[str, Any]
    lag: Mapping[str, Any] | None = None
    lag_seconds: float | None = None
    checkpoint: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Progressed(Event):
    """Some micro-batches were worked through, a few times a second; `status` is worked out for who asks."""

    status: Callable[[], Status]
    kind: ClassVar[str] = "progressed"


@dataclass(frozen=True, slots=True)
class Reported(Event):
    """A line was added to `metrics.jsonl`."""

    report: Mapping[str, Any]
    kind: ClassVar[str] = "report"

    def facts(self) -> dict[str, Any]:
        return dict(self.report)


@dataclass(frozen=True, slots=True)
class BadRows(Event):
    """Many rows could not be used since the last report; `last` is the last of them."""

    rows: int
    bad_rows: int
    last: Reject
    kind: ClassVar[str] = "bad-rows"

    def message(self) -> str:
        where = f"partition {self.last.partition!r}, offset {self.last.offset}"
        return f"{self.bad_rows:,} bad rows, {self.rows:,} rows scored; the last bad one is {where}: {self.last.reason}"

    def facts(self) -> dict[str, Any]:
        last = {"partition": self.last.partition, "offset": self.last.offset, "reason": self.last.reason}
        return {"rows": self.rows, "bad_rows": self.bad_rows, **last}


@dataclass(frozen=True, slots=True)
class CheckpointWritten(Event):
    """A checkpoint is durable."""

    checkpoint: str
    kind: ClassVar[str] = "checkpoint"

    def facts(self) -> dict[str, Any]:
        return {"id": self.checkpoint}


@dataclass(frozen=True, slots=True)
class RolledBack(Event):
    """The run goes back to its last checkpoint, because of `reason`."""

    reason: str
    kind: ClassVar[str] = "rolled-back"

    def message(self) -> str:
        return f"rolled back: {self.reason}"


@dataclass(frozen=True, slots=True)
class HookFailed(Event):
    """An observer raised; training goes on."""

    plugin: str
    hook: str
    error: Exception
    kind: ClassVar[str] = "hook-failed"

    def message(self) -> str:
        return f"hook {self.hook} of plugin {self.plugin} raised {described(self.error)}"


@dataclass(frozen=True, slots=True)
class Exported(Event):
    """An export of the run in `run_dir` is complete in `directory`."""

    directory: Path
    metrics: Mapping[str, Any]
    run_dir: Path
    kind: ClassVar[str] = "exported"

    def message(self) -> str:
        return f"the model is exported to {self.directory}"

    def facts(self) -> dict[str, Any]:
        return {"path": str(self.directory)}


@dataclass(frozen=True, slots=True)
class ExportSkipped(Event):
    """A signal ended the run, so that `output.export` was left out."""

    directory: Path
    kind: ClassVar[str] = "export-skipped"

    def message(self) -> str:
        return (
            f"stopped by a signal: nothing is exported to {self.directory}; `penrose export JOB --output DIR` does it"
        )

    def facts(self) -> dict[str, Any]:
        return {"path": str(self.directory)}


@dataclass(frozen=True, slots=True)
class Logged(Event):
    """A plugin logged a line."""

    plugin: str
    level: str
    text: str
    kind: ClassVar[str] = "log"

    def message(self) -> str:
        return f"{self.plugin}: {self.text}"

    def facts(self) -> dict[str, Any]:
        return {"plugin": self.plugin, "level": self.level}


@dataclass(frozen=True, slots=True)
class Noted(Event):
    """Something that one command tells: what it opened, how far it is, how it ended."""

    topic: str
    text: str
    about: Mapping[str, Any] = field(default_factory=dict)
    kind: ClassVar[str] = "note"

    def message(self) -> str:
        return self.text

    def facts(self) -> dict[str, Any]:
        return dict(self.about)


@dataclass(frozen=True, slots=True)
class RunEnded(Event):
    """The run is over: with a result, or with the error that ended it."""

    result: RunResult | None
    error: BaseException | None = None
    kind: ClassVar[str] = "ended"

    def facts(self) -> dict[str, Any]:
        if self.result is None:
            return {}
        return {"reason": self.result.reason, "rows": self.result.rows, "run_dir": str(self.result.run_dir)}


Listener: TypeAlias = Callable[[Event], None]


class Events:
    """Tells every listener of every event, in the order in which they were added."""

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self._listeners = list(listeners)

    def add(self, listener: Listener) -> None:
        """One more listens from now on."""
        self._listeners.append(listener)

    def tell(self, event: Event) -> None:
        """Call every listener. Raises what a listener raises."""
        for listener in self._listeners:
            listener(event)
