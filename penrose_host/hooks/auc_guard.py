"""The hook `auc-guard`: keeps an export back when the model got worse than what was exported before."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from penrose_host.contracts.hooks import Deny, HookPlugin, hookimpl
from penrose_host.contracts.plugin import API_VERSION
from penrose_host.errors import PenroseError
from penrose_host.storage.durable_files import write_atomic

__all__ = ["AucGuard"]

#: What was exported, in the run directory.
FILE = "auc-guard.json"


class AucGuard(HookPlugin):
    """Keeps an export back when progressive AUC fell by more than an option below what was exported before.

    The first export sets the mark. What was exported is remembered in the run directory, in `auc-guard.json`.
    """

    api_version: ClassVar[int] = API_VERSION

    class Options(BaseModel):
        """How far AUC may fall, and which AUC."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        max_drop: float = Field(
            default=0.005, ge=0, le=1, description="So far may AUC be below that of the earlier export."
        )
        of: Literal["total", "window"] = Field(
            default="total", description="AUC of all rows since the stream's start, or of the moving window."
        )
        against: Literal["best", "last"] = Field(
            default="best", description="Compare with the best export of this run, or with the last one."
        )
        head: str | None = Field(default=None, description="The label whose AUC counts; default: the job's first.")

    options: Options

    @hookimpl
    def allow_export(self, metrics: Mapping[str, Any], run_dir: Path) -> Deny | None:
        if self.options.of == "window" and metrics.get("window") is None:
            return Deny("the job measures no window: set metrics.window_rows, or `of: total`")
        auc = self._auc(metrics)
        file = run_dir / FILE
        before = _remembered(file).get(self._key)
        if before is None:
            return None
        mark = before[self.options.against]
        what = f"AUC ({self.options.of})"
        anyway = f"to export all the same, raise max_drop ({self.options.max_drop:g}) or remove {file}"
        if auc is None:
            return Deny(f"{what} is not known, and was {mark:.4f} in the {self.options.against} export; {anyway}")
        # Within rounding, a fall of exactly `max_drop` is allowed.
        if mark - auc > self.options.max_drop + 1e-12:
            return Deny(
                f"{what} is {auc:.4f}, {mark - auc:.4f} below the {self.options.against} export's {mark:.4f}; {anyway}"
            )
        return None

    @hookimpl
    def exported(self, metrics: Mapping[str, Any], run_dir: Path) -> None:
        auc = self._auc(metrics)
        if auc is None:
            return
        marks = _remembered(run_dir / FILE)
        best = max(auc, marks.get(self._key, {}).get("best", auc))
        marks[self._key] = {"last": auc, "best": best}
        file = run_dir / FILE
        try:
            write_atomic(file, json.dumps(marks, indent=2).encode())
        except OSError as error:
            raise PenroseError(
                f"cannot remember this export in {file}: {error.strerror or error}",
                hint="the next export is compared with what stands there",
            ) from error

    @property
    def _key(self) -> str:
        """One run may be judged by different options, one after the other."""
        return self.options.of if self.options.head is None else f"{self.options.of} {self.options.head}"

    def _auc(self, metrics: Mapping[str, Any]) -> float | None:
        """None where it is not defined. Raises ValueError for a label that the job does not have."""
        values: Any = (metrics if self.options.of == "total" else metrics.get("window")) or {}
        # A job of one label has its metrics at the top alone.
        if self.options.head is not None and "heads" in values:
            if self.options.head not in values["heads"]:
                raise ValueError(f"no label is called {self.options.head!r}; they are: {', '.join(values['heads'])}")
            values = values["heads"][self.options.head]
        auc = values.get("auc")
        return float(auc) if isinstance(auc, int | float) and math.isfinite(auc) else None


def _remembered(file: Path) -> dict[str, dict[str, float]]:
    """Which AUC → `last` and `best`; empty before the first export. Raises ValueError where it is no such file."""
    try:
        raw = file.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        return {key: {name: float(marks[name]) for name in ("last", "best")} for key, marks in json.loads(raw).items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(f"{file} is not what this gate has written: remove it") from None
