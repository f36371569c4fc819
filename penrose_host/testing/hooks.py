"""The contract of hook plugins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from penrose_host.batch import Position
from penrose_host.interfaces import RunResult
from penrose_host.plugins.hooks import Hooks
from penrose_host.plugins.hookspecs import HookPlugin
from penrose_host.testing.jobs import small_job
from penrose_host.testing.plugins import PluginContract
from penrose_host.testing.promises import Broken, promise
from penrose_host.testing.watching import Held

__all__ = ["HookContract"]


class HookContract(PluginContract):
    """Derive a test class from it, and return your hook plugin from `make`."""

    #: Threads get so many seconds to end after `run_ended`.
    patience: ClassVar[float] = 5.0

    def make(self) -> HookPlugin:
        """A new hook plugin."""
        found: HookPlugin = super().make()
        return found

    @promise
    def test_the_host_can_call_it(self) -> None:
        """Every method marked with `@hookimpl` has the name of a hook, and takes no arguments that the hook lacks."""
        Hooks().register("contract", self.make())

    @promise
    def test_it_follows_a_whole_run_without_raising(self, tmp_path: Path) -> None:
        """No observer raises in a run, also where metrics are None because there is nothing to measure yet."""
        self._watch(tmp_path / "run", failing=False)

    @promise
    def test_it_follows_a_run_that_fails_without_raising(self, tmp_path: Path) -> None:
        """No observer raises where a run ends with an error instead of a result."""
        self._watch(tmp_path / "run", failing=True)

    @promise
    def test_one_run_after_the_other_can_be_followed(self, tmp_path: Path) -> None:
        """After the end of a run a new plugin can follow the next in the same process, and no file stays open."""
        for number in range(3):
            held = Held()
            self._watch(tmp_path / f"run{number}", failing=False)
            # What stays from the first time belongs to libraries, which are loaded once.
            if number and (left := held.more(self.patience)):
                raise Broken(f"after `run_ended` {', '.join(left)} was left.", "let go of everything in `run_ended`.")

    @promise
    def test_a_gate_says_deny_or_nothing(self, tmp_path: Path) -> None:
        """`allow_export` returns None or `Deny(reason)`, whatever the metrics are, and does not raise."""
        for metrics in (_report(0, auc=None), _report(100, auc=0.99), _report(200, auc=0.01)):
            hooks = Hooks()
            hooks.register("contract", self.make())
            for _, reason in hooks.allow_export(tmp_path / "export", metrics):
                if not reason.strip() or reason.startswith("the gate raised") or "neither Deny nor None" in reason:
                    raise Broken(f"with auc {metrics['auc']}: {reason!r}.", "return `Deny(reason)` or None.")

    def _watch(self, run_dir: Path, *, failing: bool) -> None:
        """Call every hook as a run does. Raises `Broken` where an observer raised."""
        hooks = Hooks()
        hooks.register("contract", self.make())
        run_dir.mkdir(parents=True)
        hooks.run_started(small_job(run_dir).job, run_dir)
        hooks.checkpoint_restored("00000001-e1")
        hooks.reported(_report(0, auc=None))
        hooks.reported(_report(100, auc=0.7))
        hooks.checkpoint_written("00000002-e2")
        if failing:
            hooks.run_ended(None, RuntimeError("the run was told to fail"))
        else:
            last = _report(200, auc=0.75)
            hooks.reported(last)
            hooks.allow_export(run_dir / "export", last)
            (run_dir / "export").mkdir()
            hooks.exported(run_dir / "export", last)
            position = Position("contract", {"p0": 200})
            hooks.run_ended(RunResult("end-of-stream", 200, 180, position, "00000002-e2", last, run_dir), None)
        for (_, hook), failure in hooks.failures.items():
            error = failure.last_error
            raise Broken(f"`{hook}` raised {type(error).__name__}: {error}.", "the host only counts it: mend it.")


def _report(rows: int, *, auc: float | None) -> Mapping[str, Any]:
    """A line of `metrics.jsonl`; without an AUC there were no rows to measure."""
    values = {"auc": auc, "log_loss": None if auc is None else 0.5, "calibration": None if auc is None else 1.02}
    return {
        "rows": rows,
        "trained_rows": rows * 9 // 10,
        "waiting_rows": rows // 10,
        "bad_rows": 0,
        "skipped_rows": 0,
        "steps": rows // 4,
        **values,
        "window": values,
        "loss": values["log_loss"],
        "event_time": None if auc is None else 1_700_000_000_000_000,
        "position": {"p0": rows} if rows else {},
        "rows_per_second": 1000.0,
        "time": 1_700_000_000.0 + rows,
        "final": rows == 200,
    }
