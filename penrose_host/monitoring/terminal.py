"""What a person sees of a run: a live table on a terminal, plain lines elsewhere, or JSON lines for machines."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TextIO

from penrose_host.errors import described

if TYPE_CHECKING:
    from pathlib import Path

    from rich.live import Live

    from penrose_host.checkpoints import Checkpoint
    from penrose_host.contracts.batch import Reject
    from penrose_host.contracts.environment import RunResult
    from penrose_host.training.pull_driver import Loop
    from penrose_host.training.session import Session

__all__ = ["Display", "LogFormat"]

LogFormat = Literal["auto", "text", "json"]
REFRESH_SECONDS = 0.5


class Display:
    """Shows a run on `stream` (stderr). Nothing here changes what the run does."""

    def __init__(self, log_format: LogFormat = "auto", stream: TextIO | None = None) -> None:
        """`auto`: live on a terminal, plain lines elsewhere."""
        self._stream = stream if stream is not None else sys.stderr
        self._json = log_format == "json"
        self._live: Live | None = None
        self._wants_live = log_format == "auto" and self._stream.isatty()
        self._shown_at = 0.0
        self._rows_then = 0
        self._began = time.monotonic()
        self._rate = 0.0

    def started(self, session: Session, checkpoint: Checkpoint | None) -> None:
        """A life of the run begins."""
        self._shown_at, self._rows_then = time.monotonic(), session.progress.rows
        if checkpoint is not None:
            manifest = checkpoint.manifest
            self._event("resumed", f"resumed from checkpoint {manifest.id} at row {manifest.rows:,}", id=manifest.id)
        if self._wants_live and self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._stream), auto_refresh=False)
            self._live.start()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Meanwhile, what plugins log to `logging.getLogger("penrose.NAME")` is shown as everything else is."""
        logger, handler = logging.getLogger("penrose"), _Logs(self)
        before = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)

    def tick(self, loop: Loop) -> None:
        """Called between windows; refreshes the live table twice a second."""
        now = time.monotonic()
        if self._live is None or now - self._shown_at < REFRESH_SECONDS:
            return
        progress = loop.session.progress
        self._rate = (progress.rows - self._rows_then) / (now - self._shown_at)
        self._shown_at, self._rows_then = now, progress.rows
        self._live.update(self._table(_facts(loop, self._rate)), refresh=True)

    def report(self, report: Mapping[str, Any]) -> None:
        """A line was added to `metrics.jsonl`."""
        if self._json:
            self._write(json.dumps({"event": "report", **report}))
        elif self._live is None:
            self._write(_line(report))

    def bad_rows(self, rows: int, bad_rows: int, last: Reject) -> None:
        """Many rows could not be used since the last report."""
        where = f"partition {last.partition!r}, offset {last.offset}"
        text = f"{bad_rows:,} bad rows, {rows:,} rows scored; the last bad one is {where}: {last.reason}"
        facts = {"partition": last.partition, "offset": last.offset, "reason": last.reason}
        self._event("bad-rows", text, rows=rows, bad_rows=bad_rows, **facts)

    def note(self, text: str, event: str = "note", **facts: Any) -> None:
        """Something a person should know; a machine gets the facts of the `event`."""
        self._event(event, text, **facts)

    def hook_failed(self, plugin: str, hook: str, error: Exception) -> None:
        """An observer raised; training goes on."""
        self._event("hook-failed", f"hook {hook} of plugin {plugin} raised {described(error)}")

    def exported(self, directory: Path, *, skipped: bool) -> None:
        """What became of `output.export`."""
        if skipped:
            text = f"stopped by a signal: nothing is exported to {directory}; `penrose export JOB --output DIR` does it"
            self._event("export-skipped", text, path=str(directory))
        else:
            self._event("exported", f"the model is exported to {directory}", path=str(directory))

    def ended(self, result: RunResult) -> None:
        """The run is over."""
        self.close()
        seconds = time.monotonic() - self._began
        metrics = result.metrics
        if self._json:
            return self._write(
                json.dumps(
                    {"event": "ended", "reason": result.reason, "rows": result.rows, "run_dir": str(result.run_dir)}
                )
            )
        why = {"end-of-stream": "the stream has ended", "until": "reached --until", "signal": "stopped by a signal"}
        self._write(
            f"{why.get(result.reason, result.reason)}: {result.rows:,} rows scored, {result.trained_rows:,} trained, "
            f"{seconds:.1f} s"
        )
        if metrics:
            self._write(
                f"auc {_number(metrics.get('auc'))} · log loss {_number(metrics.get('log_loss'))} · "
                f"calibration {_number(metrics.get('calibration'))}"
            )
        self._write(f"run directory: {result.run_dir} · last checkpoint: {result.checkpoint}")
        return None

    def close(self) -> None:
        """Give the terminal back. May be called twice."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    # -- inside -------------------------------------------------------------------------------------

    def _event(self, event: str, text: str, **facts: Any) -> None:
        if self._json:
            self._write(json.dumps({"event": event, "message": text, **facts}))
        elif self._live is not None:
            self._live.console.print(text, markup=False)
        else:
            self._write(text)

    def _write(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def _table(self, facts: Mapping[str, str]) -> Any:
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for _ in facts:
            table.add_column(justify="right", min_width=9)
        table.add_row(*(f"[dim]{name}[/dim]" for name in facts))
        table.add_row(*facts.values())
        return table


class _Logs(logging.Handler):
    """Hands on what is logged."""

    def __init__(self, display: Display) -> None:
        super().__init__(logging.INFO)
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        name = record.name.removeprefix("penrose.")
        self._display.note(f"{name}: {self.format(record)}", "log", plugin=name, level=record.levelname)


def _facts(loop: Loop, rate: float) -> dict[str, str]:
    """What the live table shows."""
    session = loop.session
    metrics = session.metrics.values()
    loss = session.progress.mean_loss()
    bad = {"bad rows": f"{session.progress.bad_rows:,}"} if session.progress.bad_rows else {}
    last = session.last_checkpoint
    age = "none yet" if last is None else f"{last.id}, {max(time.time() - last.created, 0):.0f} s ago"
    return {
        "rows": f"{session.progress.rows:,}",
        "rows/s": f"{rate:,.0f}",
        "lag": _lag(loop),
        "loss": _number(loss if loss is not None else session.last_report.get("loss")),
        "auc": _number(metrics.get("auc")),
        "auc (window)": _number((metrics.get("window") or {}).get("auc")),
        "waiting": f"{len(session.trainer.waiting):,}",
        **bad,
        "checkpoint": age,
    }


def _lag(loop: Loop) -> str:
    """How much of the stream has not been scored: rows, or else seconds."""
    lag = loop.lag()
    if lag is not None:
        # Those that are furthest behind: there may be hundreds.
        worst = sorted(lag["partitions"].items(), key=lambda item: -item[1])[:3]
        of_partitions = ", ".join(f"{name}: {rows:,}" for name, rows in worst if rows)
        return f"{lag['rows']:,}" + (f" ({of_partitions})" if of_partitions else "")
    known = loop.reader.lag if loop.reader is not None else None
    return "–" if known is None or known.seconds is None else f"{known.seconds:.0f} s"


def _line(report: Mapping[str, Any]) -> str:
    window = report.get("window") or {}
    lag = f" · lag {report['lag']['rows']:,}" if report.get("lag") else ""
    bad = f" · bad rows {report['bad_rows']:,}" if report["bad_rows"] else ""
    skipped = f" · skipped {report['skipped_rows']:,}" if report["skipped_rows"] else ""
    return (
        f"{report['rows']:>12,} rows · {report['rows_per_second']:>9,.0f} rows/s · loss {_number(report['loss'])} · "
        f"auc {_number(report.get('auc'))} (window {_number(window.get('auc'))}) · "
        f"waiting {report['waiting_rows']:,}{lag}{bad}{skipped}"
    )


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else "–"
