"""Each promise of environments is broken by an environment that is wrong in one way; `local` keeps them all."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from contract_support import IN_A_PROCESS, Mutants, broken_promises, said_well

from penrose_host.contracts.environment import RunResult, Runtime
from penrose_host.contracts.run_spec import RunSpec
from penrose_host.environments.local import LocalEnvironment
from penrose_host.errors import PenroseError
from penrose_host.testing import EnvironmentContract, promises_of
from penrose_host.testing.plugins import PluginContract

MUTANTS = Mutants()
breaks = MUTANTS.breaks
ENDS, LOCAL, GOES_ON, ERROR = (
    "a_job_runs_to_its_end",
    "a_job_ends_like_in_one_process",
    "a_job_goes_on_where_it_stopped",
    "an_error_reaches_the_caller",
)


class Here(EnvironmentContract):
    plugin: ClassVar[type[LocalEnvironment]] = LocalEnvironment

    def make(self) -> LocalEnvironment:
        return self.plugin(self.plugin.Options())


@pytest.mark.parametrize(("mutant", "expected"), MUTANTS)
def test_a_broken_environment_breaks_its_promise_and_no_other(
    mutant: type[Any], expected: set[str], tmp_path: Path
) -> None:
    told = broken_promises(type("Test", (Here,), {"plugin": mutant}), tmp_path)
    assert set(told) == expected, told
    assert all(map(said_well, told.values())), told


def test_every_promise_is_broken_by_some_environment() -> None:
    of_all_plugins = set(promises_of(PluginContract))
    assert MUTANTS.broken() == set(promises_of(EnvironmentContract)) - of_all_plugins - {IN_A_PROCESS}


@breaks(ENDS)
class LosesTheCheckpoint(LocalEnvironment):
    def run(self, spec: RunSpec, runtime: Runtime) -> RunResult:
        return replace(super().run(spec, runtime), checkpoint=None)


@breaks(ENDS)
class CountsNoRows(LocalEnvironment):
    def run(self, spec: RunSpec, runtime: Runtime) -> RunResult:
        return replace(super().run(spec, runtime), rows=0)


@breaks(LOCAL)
class ChangesTheSeed(LocalEnvironment):
    def run(self, spec: RunSpec, runtime: Runtime) -> RunResult:
        resolved = runtime._resolved  # type: ignore[attr-defined]
        runtime._resolved = replace(resolved, job=resolved.job.model_copy(update={"seed": 5}))  # type: ignore[attr-defined]
        return super().run(spec, runtime)


@breaks(GOES_ON)
class StartsAnew(LocalEnvironment):
    def run(self, spec: RunSpec, runtime: Runtime) -> RunResult:
        shutil.rmtree(spec.run_dir, ignore_errors=True)
        return super().run(spec, runtime)


@breaks(ERROR)
class WrapsErrors(LocalEnvironment):
    def run(self, spec: RunSpec, runtime: Runtime) -> RunResult:
        try:
            return super().run(spec, runtime)
        except PenroseError as error:
            raise RuntimeError("a role has failed") from error


@breaks(ERROR)
class RemovesFailedRuns(LocalEnvironment):
    def run(self, spec: RunSpec, runtime: Runtime) -> RunResult:
        try:
            return super().run(spec, runtime)
        except PenroseError:
            (spec.run_dir / "checkpoints").rename(spec.run_dir / "old checkpoints")
            raise
