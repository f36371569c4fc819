"""Which charts a run's history gives, and the panels they stand in."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from penrose_host.monitoring.report.chart import Chart, Curve, Mark, draw
from penrose_host.monitoring.report.curves import steps
from penrose_host.monitoring.report.history import History
from penrose_host.monitoring.report.scales import clock, compact, event_clock, grouped

__all__ = ["charts_of", "hover_data", "of_first", "panel", "short", "value_text"]

#: A stream whose event time is no further behind the clock than this is live: how far, is then worth a chart.
LIVE_SECONDS = 7 * 86_400
#: Longer names stand whole in tables and tooltips only.
NAME_LENGTH = 40


def charts_of(history: History, window: str) -> list[Chart]:
    """The charts that have something to show. `window`: what the windowed metrics reach over."""

    def both(column: str) -> tuple[Curve, ...]:
        return Curve(column, "all rows", "c0"), Curve(f"window.{column}", window, "c1")

    def one(column: str, name: str) -> tuple[Curve, ...]:
        return (Curve(column, name, "c0"),)

    of = of_first(history)
    charts = [
        Chart(f"AUC{of}", "area under the ROC curve", both("auc")),
        Chart(f"Log loss{of}", "nats a row", both("log_loss")),
        Chart(f"Calibration{of}", "sum of scores / sum of labels", both("calibration"), reference=1.0),
        _scores_and_labels(history, window),
        Chart("Training loss", "mean of a row, over all heads", one("loss", "since the report before")),
        Chart("Throughput", "rows a second", one("rows_per_second", "since the report before"), zero=True),
        Chart("Waiting rows", "rows whose label is not known yet", one("waiting_rows", "waiting"), zero=True),
    ]
    for prefix, reach in (("window.", window), ("", "all rows")):
        names = [name for name in history.heads if history.known(f"{prefix}heads.{name}.auc")]
        curves = tuple(
            Curve(f"{prefix}heads.{name}.auc", shown, f"c{place}", name)
            for place, (name, shown) in enumerate(zip(names, _told_apart(names), strict=True))
        )
        charts.append(Chart(f"AUC by head, {reach}", "area under the ROC curve", curves))
    bad = Curve("bad_rows", "could not be read", "c0"), Curve("skipped_rows", "loss not finite", "c1")
    if any(history.columns[curve.column].max() > 0 for curve in bad if history.known(curve.column)):
        charts.append(Chart("Rows left out", "rows", bad, zero=True))
    charts.append(_event_time(history))
    for place, chart in enumerate(charts):
        shown = tuple(curve for curve in chart.curves if history.known(curve.column))
        charts[place] = Chart(chart.title, chart.unit, shown, chart.zero, chart.reference, chart.times)
    return [chart for chart in charts if chart.curves]


def of_first(history: History) -> str:
    """Where there are several heads, the metrics that stand alone are those of the first."""
    return f" of {short(history.heads[0])}" if history.heads else ""


def short(name: str) -> str:
    """A name that fits a title or a legend: of a long one both ends, since names that are alike differ at one."""
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 16]}…{name[-15:]}"


def _told_apart(names: Sequence[str]) -> list[str]:
    """Short names that differ: where the ends are alike, from shortly before where the names part."""
    shown = [short(name) for name in names]
    alike = {name for name, text in zip(names, shown, strict=True) if shown.count(text) > 1}
    letters = enumerate(zip(*alike, strict=False))
    start = max(next((at for at, found in letters if len(set(found)) > 1), 0) - 12, 0)
    return [f"…{short(name[start:])}" if name in alike and start else short(name) for name in names]


def _scores_and_labels(history: History, window: str) -> Chart:
    prefix, of = ("window.", window) if history.known("window.mean_label") else ("", "all rows")
    curves = Curve(f"{prefix}mean_score", "score", "c0"), Curve(f"{prefix}mean_label", "label", "c1")
    return Chart(f"Scores and labels{of_first(history)}", f"mean of the {of}", curves)


def _event_time(history: History) -> Chart:
    behind = history.columns["behind"]
    if history.known("behind") and np.nanmax(np.abs(behind)) <= LIVE_SECONDS:
        return Chart("Lag", "seconds from event time to the clock", (Curve("behind", "behind", "c0"),), zero=True)
    return Chart("Event time", "of the rows scored, UTC", (Curve("event_time", "reached", "c0"),), times=True)


def panel(chart: Chart, history: History, marks: Sequence[Mark], number: int, places: dict[str, int]) -> str:
    """One chart with its title and its legend; `places`: where the script finds the values of a column."""
    legend = "".join(
        # Isolated: a name that is written from right to left must not turn the number beside it round.
        f'<span title="{escape(curve.whole or curve.name)}"><i class="{curve.colour}"></i>'
        f"<bdi>{escape(curve.name)}</bdi> <b>{escape(_last(history, curve.column))}</b></span>"
        for curve in chart.curves
    )
    columns = " ".join(str(places.setdefault(curve.column, len(places))) for curve in chart.curves)
    return (
        f'<section class="panel" data-columns="{columns}"><div class="head"><h3>{escape(chart.title)}</h3>'
        f'<div class="legend">{legend}</div></div>{draw(chart, history.columns, marks, number)}</section>'
    )


def hover_data(history: History, places: dict[str, int]) -> dict[str, Any]:
    """What the script tells of each report that a pointer comes near to."""
    index = steps(len(history))
    columns = {name: history.columns[name][index] for name in ["rows", "event_time", "time", *places]}
    labels = []
    for rows, event_time, at in zip(columns["rows"], columns["event_time"], columns["time"], strict=True):
        when = f" · event time {event_clock(event_time)}" if np.isfinite(event_time) else ""
        reported = f" · reported {clock(at)} UTC" if np.isfinite(at) else ""
        labels.append(f"{grouped(rows)} rows{when}{reported}")
    return {
        "rows": columns["rows"].tolist(),
        "labels": labels,
        "values": [[float(f"{v:.6g}") if np.isfinite(v) else None for v in columns[name]] for name in places],
        "texts": [[value_text(name, value) for value in columns[name]] for name in places],
    }


def value_text(column: str, value: float | None) -> str:
    """A value as a person reads it; a dash where there is none."""
    if value is None or not np.isfinite(value):
        return "–"
    if column == "event_time":
        return event_clock(value)
    if column.endswith("rows") or column == "rows_per_second":
        return grouped(value)
    return compact(value) if column == "behind" else f"{value:.4f}"


def _last(history: History, column: str) -> str:
    return value_text(column, float(history.columns[column][-1]))
