"""Each promise of hook plugins is broken by a hook that is wrong in one way; a good one keeps them all."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from contract_support import IN_A_PROCESS, Mutants, broken_promises, said_well

from penrose_host import Deny, HookPlugin, RunResult, hookimpl
from penrose_host.testing import HookContract, promises_of
from penrose_host.testing.plugins import PluginContract

MUTANTS = Mutants()
breaks = MUTANTS.breaks
HOST, RUN, FAILING, NEXT, ALONE, GATE = (
    "the_host_can_call_it",
    "it_follows_a_whole_run_without_raising",
    "it_follows_a_run_that_fails_without_raising",
    "one_run_after_the_other_can_be_followed",
    "an_export_can_come_alone",
    "a_gate_says_deny_or_nothing",
)


class GoodHook(HookPlugin):
    """Remembers the best AUC, and keeps much worse models back."""

    api_version = 1

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.best = 0.0

    @hookimpl
    def reported(self, metrics: Mapping[str, Any]) -> None:
        self.best = max(self.best, metrics["auc"] or 0.0)

    @hookimpl
    def allow_export(self, metrics: Mapping[str, Any]) -> Deny | None:
        auc = metrics["auc"]
        return Deny(f"the AUC is {auc}") if auc is None or auc < self.best - 0.9 else None


class Hooked(HookContract):
    plugin: ClassVar[type[HookPlugin]] = GoodHook
    patience = 0.05

    def make(self) -> HookPlugin:
        return self.plugin(self.plugin.Options())


def test_a_good_hook_keeps_every_promise(tmp_path: Path) -> None:
    assert broken_promises(Hooked, tmp_path) == {}


@pytest.mark.parametrize(("mutant", "expected"), MUTANTS)
def test_a_broken_hook_breaks_its_promise_and_no_other(mutant: type[Any], expected: set[str], tmp_path: Path) -> None:
    told = broken_promises(type("Test", (Hooked,), {"plugin": mutant}), tmp_path)
    assert set(told) == expected, told
    assert all(map(said_well, told.values())), told


def test_every_promise_is_broken_by_some_hook() -> None:
    of_all_plugins = set(promises_of(PluginContract))
    assert MUTANTS.broken() == set(promises_of(HookContract)) - of_all_plugins - {IN_A_PROCESS}


@breaks(HOST, RUN, FAILING, NEXT, ALONE, GATE)
class MarksNothing(HookPlugin):
    api_version = 1

    def reported(self, metrics: Mapping[str, Any]) -> None:
        pass


@breaks(RUN, FAILING, NEXT)
class NeedsAnAuc(GoodHook):
    @hookimpl
    def reported(self, metrics: Mapping[str, Any]) -> None:
        self.best = max(self.best, metrics["auc"])


@breaks(FAILING)
class NeedsAResult(GoodHook):
    @hookimpl
    def run_ended(self, result: RunResult | None) -> None:
        assert result is not None


@breaks(RUN, NEXT, ALONE)
class NeedsAFileNobodyWrote(GoodHook):
    @hookimpl
    def exported(self, directory: Path) -> None:
        (directory / "model.onnx").read_bytes()


@breaks(NEXT)
class LeavesAThread(GoodHook):
    @hookimpl
    def run_started(self) -> None:
        threading.Thread(target=threading.Event().wait, args=(1,), name="metrics server", daemon=True).start()


@breaks(ALONE)
class NeedsARunAroundIt(GoodHook):
    @hookimpl
    def run_started(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    @hookimpl
    def exported(self) -> None:
        assert self.run_dir.exists()


@breaks(RUN)
class NeedsAWindow(GoodHook):
    @hookimpl
    def reported(self, metrics: Mapping[str, Any]) -> None:
        self.best = max(self.best, metrics["window"]["auc"] or 0)


@breaks(GATE)
class SaysFalse(GoodHook):
    @hookimpl
    def allow_export(self, metrics: Mapping[str, Any]) -> Any:
        return False


@breaks(GATE)
class GateNeedsAnAuc(GoodHook):
    @hookimpl
    def allow_export(self, metrics: Mapping[str, Any]) -> Deny | None:
        return Deny("too low") if metrics["auc"] < 0.5 else None


@breaks(GATE)
class DeniesWithoutReason(GoodHook):
    @hookimpl
    def allow_export(self, metrics: Mapping[str, Any]) -> Deny | None:
        return Deny("")
