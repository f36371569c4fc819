"""The hook `tensorboard`: every report of a run as scalars in an event file."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from penrose_host import HookPlugin, hookimpl

if TYPE_CHECKING:
    from tensorboardX import RecordWriter

__all__ = ["TensorBoardHook"]

_MEASURES = ("auc", "log_loss", "calibration")
_COUNTS = ("trained", "waiting", "bad", "skipped")


class TensorBoardHook(HookPlugin):
    """Writes every report as TensorBoard scalars; the step is the number of rows."""

    api_version: ClassVar[int] = 1

    class Options(BaseModel):
        """Where the event files go."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        folder: str = Field(
            default="tensorboard", min_length=1, description="Folder of the event files, in the run directory."
        )

    _writer: RecordWriter | None = None

    @hookimpl
    def run_started(self, run_dir: Path) -> None:
        self._folder = run_dir / self.options.folder

    @hookimpl
    def reported(self, metrics: Mapping[str, Any]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        if self._writer is None:
            self._writer = self._open(metrics["rows"])
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars(metrics)]
        event = Event(wall_time=time.time(), step=metrics["rows"], summary=Summary(value=values))
        self._writer.write(event.SerializeToString())
        self._writer.flush()

    @hookimpl
    def run_ended(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self, rows: int) -> RecordWriter:
        """A new file. What an earlier life of the run wrote at `rows` or behind, it reports again: that is hidden."""
        from tensorboardX import RecordWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        # TensorBoard reads the files of a folder in the order of their names.
        writer = RecordWriter(str(self._folder / f"events.out.tfevents.{now:017.6f}.{socket.gethostname()}"))
        writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        start = Event(wall_time=now, step=rows, session_log=SessionLog(status=SessionLog.START))
        writer.write(start.SerializeToString())
        return writer


def scalars(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """(tag, value) of everything in a report that is defined: totals, the window, each label, rows and speed."""
    for place in ("total", "window"):
        values = metrics if place == "total" else metrics.get("window") or {}
        for name in _MEASURES:
            heads = {f"/{head}": of_head for head, of_head in values.get("heads", {}).items()}
            for suffix, measured in {"": values, **heads}.items():
                if measured.get(name) is not None:
                    yield f"{name}/{place}{suffix}", measured[name]
    for name in _COUNTS:
        yield f"rows/{name}", metrics[f"{name}_rows"]
    yield "rows/per_second", metrics["rows_per_second"]
    if metrics["loss"] is not None:
        yield "loss/trained", metrics["loss"]
