"""What a person sees of a run: a live table on a terminal, plain lines elsewhere, or JSON lines for machines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TextIO

from penrose_host.monitoring.events import Event, Noted, Opened, Progressed, Reported, RunEnded, Status

if TYPE_CHECKING:
    from rich.live import Live

    from penrose_host.contracts.environment import RunResult

__all__ = ["LogFormat", "Terminal"]

LogFormat = Literal["auto", "text", "json"]
REFRESH_SECONDS = 0.5
_WHY = {"end-of-stream": "the stream has ended", "until": "reached --until", "signal": "stopped by a signal"}


class Terminal:
    """Shows events on `stream` (stderr). Nothing here changes what the run does."""

    def __init__(self, log_format: LogFormat = "auto", stream: TextIO | None = None) -> None:
        """`auto`: live on a terminal, plain lines elsewhere."""
        self._stream = stream if stream is not None else sys.stderr
        self._json = log_format == "json"
        self._live: Live | None = None
        self._wants_live = log_format == "auto" and self._stream.isatty()
        self._shown_at = 0.0
        self._rows_then = 0
        self._began = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Show an event, if there is something to show of it."""
        match event:
            case Progressed(status):
                self._refresh(status)
                return
            case Reported(report):
                self._report(report)
                return
            case RunEnded(result):
                self.close()
                if result is not None:
                    self._ended(event, result)
                return
            case Opened(rows):
                self._shown_at, self._rows_then = time.monotonic(), rows
        if message := event.message():
            self._show(event.topic if isinstance(event, Noted) else event.kind, message, event.facts())
        if isinstance(event, Opened):
            self._go_live()

    def close(self) -> None:
        """Give the terminal back. May be called twice."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    # -- inside -------------------------------------------------------------------------------------

    def _go_live(self) -> None:
        if self._wants_live and self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._stream), auto_refresh=False)
            self._live.start()

    def _refresh(self, status: Any) -> None:
        now = time.monotonic()
        if self._live is None or now - self._shown_at < REFRESH_SECONDS:
            return
        seen: Status = status()
        rate = (seen.rows - self._rows_then) / (now - self._shown_at)
        self._shown_at, self._rows_then = now, seen.rows
        self._live.update(_table(_columns(seen, rate)), refresh=True)

    def _report(self, report: Mapping[str, Any]) -> None:
        if self._json:
            self._write(json.dumps({"event": Reported.kind, **report}))
        elif self._live is None:
            self._write(_line(report))

    def _ended(self, event: RunEnded, result: RunResult) -> None:
        if self._json:
            self._write(json.dumps({"event": event.kind, **event.facts()}))
            return
        self._write(
            f"{_WHY.get(result.reason, result.reason)}: {result.rows:,} rows scored, {result.trained_rows:,} trained, "
            f"{time.monotonic() - self._began:.1f} s"
        )
        if metrics := result.metrics:
            self._write(
                f"auc {_number(metrics.get('auc'))} · log loss {_number(metrics.get('log_loss'))} · "
                f"calibration {_number(metrics.get('calibration'))}"
            )
        self._write(f"run directory: {result.run_dir} · last checkpoint: {result.checkpoint}")

    def _show(self, kind: str, message: str, facts: Mapping[str, Any]) -> None:
        if self._json:
            self._write(json.dumps({"event": kind, "message": message, **facts}))
        elif self._live is not None:
            self._live.console.print(message, markup=False)
        else:
            self._write(message)

    def _write(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


def _table(columns: Mapping[str, str]) -> Any:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for _ in columns:
        table.add_column(justify="right", min_width=9)
    table.add_row(*(f"[dim]{name}[/dim]" for name in columns))
    table.add_row(*columns.values())
    return table


def _columns(status: Status, rate: float) -> dict[str, str]:
    """What the live table shows."""
    bad = {"bad rows": f"{status.bad_rows:,}"} if status.bad_rows else {}
    age = "none yet"
    if status.checkpoint is not None:
        id, created = status.checkpoint
        age = f"{id}, {max(time.time() - created, 0):.0f} s ago"
    return {
        "rows": f"{status.rows:,}",
        "rows/s": f"{rate:,.0f}",
        "lag": _lag(status),
        "loss": _number(status.loss),
        "auc": _number(status.metrics.get("auc")),
        "auc (window)": _number((status.metrics.get("window") or {}).get("auc")),
        "waiting": f"{status.waiting:,}",
        **bad,
        "checkpoint": age,
    }


def _lag(status: Status) -> str:
    """How much of the stream has not been scored: rows, or else seconds."""
    if status.lag is not None:
        # Those that are furthest behind: there may be hundreds.
        worst = sorted(status.lag["partitions"].items(), key=lambda item: -item[1])[:3]
        of_partitions = ", ".join(f"{name}: {rows:,}" for name, rows in worst if rows)
        return f"{status.lag['rows']:,}" + (f" ({of_partitions})" if of_partitions else "")
    return "–" if status.lag_seconds is None else f"{status.lag_seconds:.0f} s"


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
