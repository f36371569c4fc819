"""The contract of hook plugins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from penrose_host.contracts.executor import FeatureSpec
from penrose_host.contracts.hooks import HookPlugin
from penrose_host.errors import ExportDenied, SourceError
from penrose_host.monitoring.events import Event, HookFailed
from penrose_host.plugins.hook_calls import Hooks
from penrose_host.testing.jobs import TOY_FEATURES, run_job, small_job
from penrose_host.testing.plugins import PluginContract
from penrose_host.testing.promises import Broken, promise
from penrose_host.testing.toys import ToySource
from penrose_host.testing.watching import Held

__all__ = ["HookContract"]

_TWO_HEADS = FeatureSpec(categorical=("user",), labels=("click", "buy"))


class HookContract(PluginContract):
    """Derive a test class from it, and return your hook plugin from `make`; it follows small jobs of toys."""

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
        """No observer raises in a run, whatever is measured: one head or two, with a window or without, or nothing."""
        self._follow(tmp_path / "one", TOY_FEATURES)
        self._follow(tmp_path / "two", _TWO_HEADS, metrics={"window_rows": None})

    @promise
    def test_it_follows_a_run_that_fails_without_raising(self, tmp_path: Path) -> None:
        """No observer raises where a run ends with an error instead of a result."""
        self._follow(tmp_path / "run", TOY_FEATURES, fail_at=39)

    @promise
    def test_one_run_after_the_other_can_be_followed(self, tmp_path: Path) -> None:
        """After the end of a run a new plugin can follow the next in the same process, and nothing stays open."""
        for number in range(3):
            held = Held()
            self._follow(tmp_path / f"run{number}", TOY_FEATURES)
            # What stays from the first time belongs to libraries, which are loaded once.
            if number and (left := held.more(self.patience)):
                raise Broken(f"after `run_ended` {', '.join(left)} was left.", "let go of everything in `run_ended`.")

    @promise
    def test_an_export_can_come_alone(self, tmp_path: Path) -> None:
        """`allow_export` and `exported` work without a run around them, as `penrose export` calls them."""
        metrics = self._metrics(tmp_path / "run")
        folder = tmp_path / "run" / "export again"
        folder.mkdir()
        hooks = self._hooks()
        hooks.allow_export(folder, metrics, tmp_path / "run")
        hooks.exported(folder, metrics, tmp_path / "run")
        for (_, hook), failure in hooks.failures.items():
            raise _raising(hook, failure.last_error)

    @promise
    def test_a_gate_says_deny_or_nothing(self, tmp_path: Path) -> None:
        """`allow_export` returns None or `Deny(reason)`, whatever the metrics are, and does not raise."""
        metrics = self._metrics(tmp_path / "run")
        for auc in (None, 0.99, 0.01):
            hooks = self._hooks()
            changed = {**metrics, "auc": auc, "window": None}
            for _, reason in hooks.allow_export(tmp_path / "run" / "export", changed, tmp_path / "run"):
                if not reason.strip() or reason.startswith("the gate raised") or "neither Deny nor None" in reason:
                    raise Broken(f"with AUC {auc}: {reason!r}.", "return `Deny(reason)` or None.")

    def _hooks(self) -> Hooks:
        hooks = Hooks()
        hooks.register("contract", self.make())
        return hooks

    def _metrics(self, run_dir: Path) -> Mapping[str, Any]:
        """The last report of a run that this plugin did not follow."""
        return run_job(small_job(run_dir)).metrics

    def _follow(self, run_dir: Path, spec: FeatureSpec, *, fail_at: int | None = None, **sections: Any) -> None:
        """Run a job with the plugin. Raises `Broken` where an observer raised."""
        failures = _Failures()
        job = small_job(
            run_dir,
            datasource=ToySource.of(spec, fail_at=fail_at),
            hooks=[self.make()],
            spec=spec,
            report={"rows": 7},
            output={"export": "export"},
            **sections,
        )
        try:
            run_job(job, listeners=[failures])
        except ExportDenied:
            pass  # a gate may be as strict as it likes
        except SourceError:
            if fail_at is None:
                raise
        for hook, error in failures.seen:
            raise _raising(hook, error)


class _Failures:
    """Listens for what observers raised, and keeps it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Exception]] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, HookFailed):
            self.seen.append((event.hook, event.error))


def _raising(hook: str, error: Exception) -> Broken:
    return Broken(f"`{hook}` raised {type(error).__name__}: {error}.", "the host only counts and shows it: mend it.")
