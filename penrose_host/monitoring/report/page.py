"""The page: everything about a run in one file of HTML."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from penrose_host.checkpoints import CheckpointStore
from penrose_host.config.jobfile import read_job_file
from penrose_host.errors import CheckpointError, ConfigError, RunDirectoryError
from penrose_host.monitoring.report import sections
from penrose_host.monitoring.report.chart import Mark
from penrose_host.monitoring.report.charts import charts_of, hover_data, panel
from penrose_host.monitoring.report.history import History, read_history
from penrose_host.monitoring.report.scales import clock, grouped
from penrose_host.monitoring.report.sections import CheckpointLine
from penrose_host.options.durations import format_duration, parse_duration
from penrose_host.storage.durable_files import make_folder, write_atomic

__all__ = ["write_report"]


def write_report(run_dir: Path, output: Path) -> int:
    """Write the page about the run in `run_dir`, whole or not at all; returns its length in bytes.

    Raises RunDirectoryError where there is no run, or the page cannot be written.
    """
    if not any((run_dir / name).exists() for name in ("metrics.jsonl", "job.yaml", "checkpoints")):
        raise RunDirectoryError(
            f"{run_dir} is not the directory of a run",
            path=run_dir,
            hint="give the directory that `penrose run` prints at its end, such as runs/NAME",
        )
    page = _page(run_dir).encode("utf-8", "replace")
    output = output.absolute()
    try:
        make_folder(output.parent)
        write_atomic(output, page)
    except OSError as error:
        raise RunDirectoryError(
            f"cannot write {output}: {error.strerror or error}", path=output, hint="write elsewhere with --output FILE"
        ) from error
    return len(page)


def _page(run_dir: Path) -> str:
    history = read_history(run_dir / "metrics.jsonl")
    text, job = _job(run_dir / "job.yaml")
    lines, source_id = _checkpoints(run_dir)
    window = _window(job)
    name = str(job.get("name") or run_dir.absolute().name)
    data: dict[str, Any] = {}
    main = []
    if len(history):
        main.append(sections.figures(history, lines, window))
        if history.columns["rows"].max() > 0:
            charts, data = _charts(history, lines, window)
            only = (
                '<p class="muted">There is one report: curves begin with the second.</p>' if len(history) == 1 else ""
            )
            main.append(f'<h2>Curves</h2>{only}<div class="charts">{charts}</div>')
        else:
            main.append('<h2>Curves</h2><div class="panel empty">No row has been scored, so there are no curves.</div>')
        if head_values := history.last.get("heads"):
            windowed = (history.last.get("window") or {}).get("heads") or {}
            main.append(sections.heads(head_values, windowed))
    else:
        main.append(
            '<h2>Curves</h2><div class="panel empty">There is no report yet: '
            "one comes each <code>report.rows</code> rows.</div>"
        )
    position = sections.positions(history.last.get("position") or {}, source_id)
    main.append(f'<div class="columns">{sections.checkpoints(lines)}{position}</div>')
    if text:
        main.append(sections.job(text))
    return _template("page.html").substitute(
        title=escape(f"{name} · Penrose"),
        style=_read("style.css"),
        header=sections.header(name, str(run_dir), history),
        main="\n".join(main),
        footer=f"Written {clock(time.time())} UTC by penrose-host {escape(version('penrose-host'))}",
        data=_for_script(data),
        script=_read("hover.js") if data else "",
    )


def _charts(history: History, lines: list[CheckpointLine], window: str) -> tuple[str, dict[str, Any]]:
    """All panels, and what the script needs to know."""
    marks = [
        Mark(line.rows, f"checkpoint {line.id}, at {grouped(line.rows)} rows")
        for line in lines
        if line.rows is not None and line.rows <= history.columns["rows"].max()
    ]
    places: dict[str, int] = {}
    panels = [panel(chart, history, marks, n, places) for n, chart in enumerate(charts_of(history, window))]
    return "\n".join(panels), hover_data(history, places)


def _checkpoints(run_dir: Path) -> tuple[list[CheckpointLine], str | None]:
    """What there is, damaged or not, and the stream of the newest. A run may be going on, and remove some."""
    store = CheckpointStore(run_dir / "checkpoints")
    lines, source_id = [], None
    try:
        ids = store.ids()
    except CheckpointError as error:
        return [CheckpointLine("–", fault=error.message)], None
    for id in ids:
        try:
            manifest = store.open(id).manifest
        except CheckpointError as error:
            if id in store.ids():
                lines.append(CheckpointLine(id, fault=error.message))
            continue
        info, source_id = manifest.info(), manifest.position.source_id
        lines.append(CheckpointLine(id, info.created, info.rows, info.bytes))
    return lines, source_id


def _job(path: Path) -> tuple[str, Mapping[str, Any]]:
    """The job's text and values; none where it is not there, or not a job."""
    try:
        return path.read_text("utf-8", "replace"), read_job_file(path)[0]
    except OSError:
        return "", {}
    except ConfigError:
        return path.read_text("utf-8", "replace"), {}


def _window(job: Mapping[str, Any]) -> str:
    """What the windowed metrics reach over."""
    metrics = job.get("metrics")
    if isinstance(metrics, Mapping):
        rows, span = metrics.get("window_rows"), metrics.get("window_event_time")
        if isinstance(span, str):
            return f"last {format_duration(parse_duration(span))}"
        if isinstance(rows, int):
            return f"last {grouped(rows)} rows"
    return "window"


def _for_script(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")


def _template(name: str) -> Template:
    return Template(_read(name))


def _read(name: str) -> str:
    return files("penrose_host.monitoring.report").joinpath(name).read_text("utf-8")
