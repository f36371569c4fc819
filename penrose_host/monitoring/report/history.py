"""What a run has reported, line by line, as columns."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penrose_host.errors import RunDirectoryError

if TYPE_CHECKING:
    from penrose_host.contracts.batch import Float64

__all__ = ["MAX_HEADS", "History", "read_history"]

#: So many heads get a curve of their own.
MAX_HEADS = 8
_NAN = float("nan")
_SCALARS = (
    "rows",
    "trained_rows",
    "waiting_rows",
    "bad_rows",
    "skipped_rows",
    "loss",
    "event_time",
    "rows_per_second",
    "time",
)
_METRICS = ("auc", "log_loss", "calibration", "positives", "labelled_rows")


@dataclass(frozen=True, slots=True)
class History:
    """`columns`: dotted name → float64 [lines], NaN where there is none.

    Names are those of the report (`auc`, `window.auc`, `heads.NAME.auc`, …), and what follows from them: `behind`
    (seconds from event time to the clock), `mean_label` and `mean_score`. `heads`: those with columns of their own,
    where there are several. `last`: the last line as it is.
    """

    columns: Mapping[str, Float64] = field(default_factory=dict)
    heads: tuple[str, ...] = ()
    last: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["rows"]) if self.columns else 0

    def known(self, name: str) -> bool:
        """Whether any line has a number for this."""
        return name in self.columns and bool(np.isfinite(self.columns[name]).any())


def read_history(path: Path) -> History:
    """The lines of a `metrics.jsonl` (none where there is no file). A last line that is still being written is left.

    Raises RunDirectoryError for a line that is not a report.
    """
    columns: dict[str, array[float]] = {}
    heads: tuple[str, ...] = ()
    line: Mapping[str, Any] = {}
    count = 0
    for number, text in _lines(path):
        try:
            line = json.loads(text)
            numbers = dict(_numbers(line))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise RunDirectoryError(
                f"line {number} of {path} is not a report: {error}",
                path=path,
                hint="the file was changed by hand, or by a failing disk; resume the run to have its end cut back",
            ) from error
        heads = heads or tuple(line.get("heads") or ())[:MAX_HEADS]
        for name in numbers.keys() - columns.keys():
            columns[name] = array("d", [_NAN]) * count
        for name, column in columns.items():
            column.append(numbers.get(name, _NAN))
        count += 1
    if not count:
        return History()
    arrays = {name: np.frombuffer(column) for name, column in columns.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        arrays["behind"] = arrays["time"] - arrays["event_time"] / 1e6
        for prefix in ("", "window."):
            arrays[f"{prefix}mean_label"] = arrays[f"{prefix}positives"] / arrays[f"{prefix}labelled_rows"]
            arrays[f"{prefix}mean_score"] = arrays[f"{prefix}mean_label"] * arrays[f"{prefix}calibration"]
    return History({name: np.where(np.isfinite(values), values, _NAN) for name, values in arrays.items()}, heads, line)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                if text.endswith(b"\n"):
                    yield number, text
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunDirectoryError(f"cannot read {path}: {error.strerror or error}", path=path) from error


def _numbers(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name in _SCALARS:
        yield name, _number(line.get(name))
    for prefix, metrics in (("", line), ("window.", line.get("window") or {})):
        for name in _METRICS:
            yield f"{prefix}{name}", _number(metrics.get(name))
        for head in list(metrics.get("heads") or {})[:MAX_HEADS]:
            yield f"{prefix}heads.{head}.auc", _number(metrics["heads"][head].get("auc"))


def _number(value: object) -> float:
    return value if type(value) is float or type(value) is int else _NAN
