"""The parts of the page beside the charts: title, figures, checkpoints, positions, heads, the job."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from penrose_host.monitoring.report.charts import of_first, value_text
from penrose_host.monitoring.report.history import History
from penrose_host.monitoring.report.scales import clock, compact, event_clock, grouped

__all__ = ["CheckpointLine", "checkpoints", "figures", "header", "heads", "job", "positions"]

#: So many partitions, and so many heads, are listed.
SHOWN = 60
_LONG = ' class="long"'


@dataclass(frozen=True, slots=True)
class CheckpointLine:
    """One checkpoint, or what is wrong with it."""

    id: str
    created: float | None = None
    rows: int | None = None
    bytes: int | None = None
    fault: str | None = None


def header(name: str, run_dir: str, history: History) -> str:
    """The job's name, whether its stream has ended, and when it ran."""
    ended = bool(history.last.get("final"))
    state = ("good", "the stream has ended") if ended else ("open", "the stream has not ended")
    lines = [f"run directory <code>{escape(run_dir)}</code>"]
    if len(history):
        at = history.columns["time"]
        lines.append(
            f"{clock(float(np.nanmin(at)))} to {clock(float(np.nanmax(at)))} UTC" if history.known("time") else ""
        )
        if history.known("event_time"):
            lines.append(f"event time up to {event_clock(float(np.nanmax(history.columns['event_time'])))}")
    status = f'<span class="status {state[0]}">{state[1]}</span>' if len(history) else ""
    return (
        f'<div class="title"><h1>{escape(name)}</h1>{status}</div>'
        f'<p class="muted">{" · ".join(line for line in lines if line)}</p>'
    )


def figures(history: History, checkpoints: Sequence[CheckpointLine], window: str) -> str:
    """The last figures, as tiles."""
    last = history.last
    windowed: Mapping[str, Any] = last.get("window") or {}

    def metric(title: str, name: str) -> tuple[str, str, str]:
        under = f"{window}: {value_text(name, _number(windowed.get(name)))}" if windowed else "over all rows"
        return title + of_first(history), value_text(name, _number(last.get(name))), under

    def count(name: str) -> str:
        return value_text(name, _number(last.get(name)))

    seconds = active_seconds(history)
    rate = grouped((_number(last.get("rows")) or 0.0) / seconds) if seconds else "–"
    newest = checkpoints[-1].id if checkpoints else "none yet"
    tiles = [
        metric("AUC", "auc"),
        metric("Log loss", "log_loss"),
        metric("Calibration", "calibration"),
        ("Rows scored", count("rows"), f"{count('trained_rows')} trained"),
        ("Rows a second", rate, f"{_duration(seconds)} of work"),
        ("Waiting rows", count("waiting_rows"), "label not known yet"),
        ("Bad rows", count("bad_rows"), f"{count('skipped_rows')} skipped for their loss"),
        ("Checkpoints", str(len(checkpoints)), newest),
    ]
    shown = "".join(
        f'<div class="tile"><span>{escape(t)}</span><strong{_LONG if len(v) > 9 else ""}>{escape(v)}</strong>'
        f"<span>{escape(u)}</span></div>"
        for t, v, u in tiles
    )
    return f'<div class="tiles">{shown}</div>'


def active_seconds(history: History) -> float:
    """How long the run has worked, pauses between its lives left out: what its reports' rates add up to."""
    rates = history.columns["rows_per_second"]
    rows = np.diff(history.columns["rows"], prepend=0.0)
    counted = np.isfinite(rates) & (rates > 0) & (rows > 0)
    return float((rows[counted] / rates[counted]).sum())


def checkpoints(lines: Sequence[CheckpointLine]) -> str:
    """The checkpoints that there are, newest first."""
    rows = [
        [
            f"<code>{escape(line.id)}</code>",
            clock(line.created) if line.created is not None else "–",
            grouped(line.rows) if line.rows is not None else "–",
            f"{compact(line.bytes)}B" if line.bytes is not None else "–",
            escape(line.fault) if line.fault else "whole",
        ]
        for line in reversed(lines)
    ]
    return _section("Checkpoints", ["id", "written, UTC", "rows", "size", "state"], rows, (2, 3), wide=4)


def positions(position: Mapping[str, Any], source_id: str | None) -> str:
    """Where reading goes on, partition by partition."""
    rows = [[escape(str(name)), escape(f"{offset:,}")] for name, offset in list(position.items())[:SHOWN]]
    if len(position) > SHOWN:
        rows.append([f"and {len(position) - SHOWN:,} more", ""])
    stream = f'<p class="muted">stream <code>{escape(source_id)}</code></p>' if source_id else ""
    return _section("Position", ["partition", "next offset"], rows, (1,), wide=0, below=stream)


def heads(values: Mapping[str, Mapping[str, Any]], window: Mapping[str, Mapping[str, Any]]) -> str:
    """The last figures of each head, where there are several."""
    rows = []
    for name, figures in list(values.items())[:SHOWN]:
        numbers = [value_text(key, _number(figures.get(key))) for key in ("auc", "log_loss", "calibration")]
        windowed = value_text("auc", _number((window.get(name) or {}).get("auc")))
        rows.append([escape(name), *numbers, windowed, value_text("rows", _number(figures.get("labelled_rows")))])
    if len(values) > SHOWN:
        rows.append([f"and {len(values) - SHOWN:,} more", "", "", "", "", ""])
    names = ["head", "AUC", "log loss", "calibration", "AUC, window", "labelled rows"]
    return _section("Heads", names, rows, (1, 2, 3, 4, 5), wide=0)


def job(text: str) -> str:
    """The job as it was run; its secrets were masked when it was written."""
    marked = re.sub(r"(?m)^(\s*(?:- )*)([\w.-]+):", r'\1<span class="key">\2</span>:', escape(text, quote=False))
    return f'<h2>Job</h2><details class="panel"><summary>with every default</summary><pre>{marked}</pre></details>'


def _section(
    title: str,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[int],
    *,
    wide: int,
    below: str = "",
) -> str:
    """A titled table; the cells are HTML already. `numbers`: columns that are aligned right."""
    if not rows:
        return f'<section><h2>{title}</h2><div class="panel empty">none</div></section>'

    def kind(column: int) -> str:
        return ' class="number"' if column in numbers else ' class="wide"' if column == wide else ""

    first = "".join(f"<th{kind(i)}>{name}</th>" for i, name in enumerate(names))
    rest = "".join(f"<tr>{''.join(f'<td{kind(i)}>{cell}</td>' for i, cell in enumerate(row))}</tr>" for row in rows)
    table = f'<div class="panel scroll"><table><tr>{first}</tr>{rest}</table></div>'
    return f"<section><h2>{title}</h2>{table}{below}</section>"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
