"""One chart: curves over rows, drawn as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from penrose_host.monitoring.report.curves import bounds, segments
from penrose_host.monitoring.report.scales import compact, decimal, event_ticks, ticks

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Float64, Int64

__all__ = ["Chart", "Curve", "Mark", "draw"]

WIDTH, HEIGHT = 560, 226
LEFT, RIGHT, TOP, BOTTOM = 62, 540, 24, 190
#: With so few points each is shown as one.
FEW = 40


@dataclass(frozen=True, slots=True)
class Curve:
    """A column of the history, its name in the legend, its colour (a CSS class); `whole`: the name if it is longer."""

    column: str
    name: str
    colour: str
    whole: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """`unit` is that of the y axis; `zero` lets it start there; `reference` is a line to compare with."""

    title: str
    unit: str
    curves: tuple[Curve, ...]
    zero: bool = False
    reference: float | None = None
    times: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A place on the x axis, and what a pointer on it is told."""

    rows: float
    text: str


@dataclass(frozen=True, slots=True)
class _Axis:
    """Values low..high, drawn from `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)


def draw(chart: Chart, columns: Mapping[str, Float64], marks: Sequence[Mark], number: int) -> str:
    """The chart as `<svg>`; every curve has at least one number. `number` tells the charts of a page apart."""
    rows = columns["rows"]
    x = _Axis(*_widened(min(0.0, float(rows.min())), float(rows.max())), LEFT, RIGHT)
    y = _Axis(*_range(chart, columns), BOTTOM, TOP)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)} over rows" '
        f'data-x="{x.low} {x.high} {LEFT} {RIGHT}" data-y="{y.low} {y.high} {BOTTOM} {TOP}">',
        f'<clipPath id="plot{number}"><rect x="{LEFT - 4}" y="{TOP - 3}" width="{WIDTH - LEFT + 4}" '
        f'height="{BOTTOM - TOP + 4}"/></clipPath>',
        *_grid(chart, x, y),
        f'<g clip-path="url(#plot{number})">',
        *(_curve(curve, rows, columns[curve.column], x, y) for curve in chart.curves),
        "</g>",
        *(_mark(mark, x) for mark in marks),
        f'<line class="cursor" y1="{TOP}" y2="{BOTTOM}"/>',
        *(f'<circle class="dot {curve.colour}" r="3.5"/>' for curve in chart.curves),
    ]
    beyond = sum(int(((v := columns[curve.column]) > y.high).sum() + (v < y.low).sum()) for curve in chart.curves)
    if beyond:
        parts.append(f'<text class="note" x="{RIGHT}" y="{TOP - 10}">off the scale: {beyond:,}</text>')
    return "".join([*parts, "</svg>"])


def _range(chart: Chart, columns: Mapping[str, Float64]) -> tuple[float, float]:
    ends = [end for curve in chart.curves for end in bounds(columns[curve.column])]
    if chart.zero:
        ends.append(0.0)
    if chart.reference is not None:
        ends.append(chart.reference)
    low, high = _widened(min(ends), max(ends))
    room = (high - low) * 0.06
    return (low if chart.zero and low == 0 else low - room), high + room


def _widened(low: float, high: float) -> tuple[float, float]:
    """The same, or something around it where it has no extent that could be drawn."""
    if high - low > abs(high) * 1e-9:
        return low, high
    room = abs(high) * 0.05 or 1.0
    return (low, high + room) if low == 0 else (low - room, high + room)


def _grid(chart: Chart, x: _Axis, y: _Axis) -> list[str]:
    parts = [f'<text class="unit" x="{LEFT}" y="{TOP - 10}">{escape(chart.unit)}</text>']
    for value, text in event_ticks(y.low, y.high, 5) if chart.times else _ticks(y.low, y.high):
        at = y.place(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="y" x="{LEFT - 7}" y="{at + 3.5:.1f}">{text}</text>')
    if chart.reference is not None:
        at = y.place(chart.reference)
        parts.append(f'<line class="reference" x1="{LEFT}" x2="{RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{RIGHT}" y1="{BOTTOM}" y2="{BOTTOM}"/>')
    for value in ticks(x.low, x.high, 8):
        at = x.place(value)
        parts.append(f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{BOTTOM}" y2="{BOTTOM + 4}"/>')
        parts.append(f'<text class="x" x="{at:.1f}" y="{BOTTOM + 17}">{compact(value)}</text>')
    parts.append(f'<text class="x unit" x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 33}">rows scored</text>')
    return parts


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    values = ticks(low, high, 6)
    step = values[1] - values[0] if len(values) > 1 else high - low
    return [(value, decimal(value, step)) for value in values]


def _curve(curve: Curve, rows: Float64, values: Float64, x: _Axis, y: _Axis) -> str:
    lines = segments(values)
    drawn = "".join(_line(rows, values, line, x, y) for line in lines)
    path = f'<path class="curve {curve.colour}" d="{drawn}"/>'
    if y.low == 0:
        floor = f"L{{:.1f}} {BOTTOM}L{{:.1f}} {BOTTOM}z"
        ends = [floor.format(x.place(rows[line[-1]]), x.place(rows[line[0]])) for line in lines]
        under = "".join(_line(rows, values, line, x, y) + end for line, end in zip(lines, ends, strict=True))
        path = f'<path class="area {curve.colour}" d="{under}"/>{path}'
    size = 2.2 if len(rows) > 1 else 3.2
    alone = [int(line[0]) for line in lines if len(line) == 1]
    points = np.concatenate(lines).tolist() if len(rows) <= FEW else alone
    dots = "".join(f'<circle cx="{x.place(rows[i]):.1f}" cy="{y.place(values[i]):.1f}" r="{size}"/>' for i in points)
    return path + (f'<g class="points {curve.colour}">{dots}</g>' if dots else "")


def _line(rows: Float64, values: Float64, line: Int64, x: _Axis, y: _Axis) -> str:
    places = [f"{x.place(rows[i]):.1f} {y.place(values[i]):.1f}" for i in line.tolist()]
    return f"M{'L'.join(places)}"


def _mark(mark: Mark, x: _Axis) -> str:
    at = x.place(mark.rows)
    return f'<path class="mark" d="M{at:.1f} {BOTTOM - 5}l4 5l-4 5l-4 -5z"><title>{escape(mark.text)}</title></path>'
