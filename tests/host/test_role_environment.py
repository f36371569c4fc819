"""Variables of a role's process: from plugins, before the executor is set up, until it was closed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rows_support import ScribeExecutor
from run_support import make_job

from penrose_host import (
    API_VERSION,
    ClusterSpec,
    ExecutorContext,
    HookPlugin,
    PluginConflict,
    PluginIncompatible,
    Role,
    TrainingError,
    hookimpl,
)
from penrose_host.plugins.hook_calls import Hooks
from penrose_host.training.runtime import run

CLUSTER = ClusterSpec({Role.CHIEF: ("one:1",), Role.WORKER: ("two:2", "three:3")})
VARIABLE = "PENROSE_TEST_CLUSTER"


class Framework(ScribeExecutor):
    """An executor over a framework that reads its cluster from a variable."""

    seen: ClassVar[list[str | None]] = []

    @hookimpl
    def role_environment(self, role: Role, index: int, cluster: ClusterSpec) -> Mapping[str, str]:
        return {VARIABLE: f"{role} {index} of {len(cluster.trainers())}"}

    def setup(self, context: ExecutorContext) -> None:
        super().setup(context)
        Framework.seen.append(os.environ.get(VARIABLE))

    def close(self) -> None:
        Framework.seen.append(os.environ.get(VARIABLE))
        super().close()


class Another(HookPlugin):
    api_version = API_VERSION
    wanted: ClassVar[Mapping[str, str]] = {}

    @hookimpl
    def role_environment(self, index: int) -> Mapping[str, str] | None:
        return self.wanted


@pytest.fixture(autouse=True)
def _nothing_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    Framework.seen.clear()
    monkeypatch.setattr(Another, "wanted", {})


@pytest.mark.parametrize("before", [None, "mine"])
def test_they_are_set_from_before_setup_until_behind_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if before is not None:
        monkeypatch.setenv(VARIABLE, before)
    run(make_job(tmp_path, executor=Framework))
    assert Framework.seen == ["chief 0 of 1"] * 2
    assert os.environ.get(VARIABLE) == before


@pytest.mark.parametrize("method", ["setup", "close"])
def test_an_executor_that_fails_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def fail(*_: Any) -> None:
        raise TrainingError("made to fail")

    monkeypatch.setattr(Framework, method, fail)
    with pytest.raises(TrainingError, match="made to fail"):
        run(make_job(tmp_path, executor=Framework))
    assert VARIABLE not in os.environ


def test_hook_plugins_give_some_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Another, "wanted", {VARIABLE: "chief 0 of 1", f"{VARIABLE}_2": "two"})
    hooks = Hooks()
    hooks.register_executor("framework", Framework())
    hooks.register("another", Another(Another.Options()))
    wanted = {VARIABLE: "worker 1 of 3"}
    with pytest.raises(
        PluginConflict,
        match=rf"(executor framework and another|another and executor framework) give the variable {VARIABLE}",
    ):
        hooks.role_environment(Role.WORKER, 1, CLUSTER)
    monkeypatch.setattr(Another, "wanted", wanted)
    assert hooks.role_environment(Role.WORKER, 1, CLUSTER) == wanted
    monkeypatch.setattr(Another, "wanted", None)
    assert hooks.role_environment(Role.WORKER, 1, CLUSTER) == wanted


def test_what_a_plugin_raises_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(HookPlugin):
        api_version = API_VERSION

        @hookimpl
        def role_environment(self) -> Mapping[str, str]:
            raise LookupError("no address")

    with pytest.raises(LookupError, match="no address"):
        run(make_job(tmp_path, executor=Framework, hooks=[Failing]))
    assert Framework.seen == []


def test_an_executor_whose_method_is_not_marked_is_refused() -> None:
    class Unmarked(ScribeExecutor):
        def role_environment(self, role: Role) -> Mapping[str, str]:
            return {}

    with pytest.raises(PluginIncompatible, match="not marked with @hookimpl"):
        Hooks().register_executor("unmarked", Unmarked())


def test_an_executor_and_a_hook_plugin_may_have_one_name() -> None:
    hooks = Hooks()
    hooks.register("framework", Another(Another.Options()))
    hooks.register_executor("framework", Framework())
    assert hooks.role_environment(Role.CHIEF, 0, CLUSTER) == {VARIABLE: "chief 0 of 3"}


def test_what_is_no_text_is_told_with_the_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Another, "wanted", {VARIABLE: 5})
    hooks = Hooks()
    hooks.register("another", Another(Another.Options()))
    with pytest.raises(PluginIncompatible, match="another: role_environment gave"):
        hooks.role_environment(Role.CHIEF, 0, CLUSTER)


def test_a_wrapper_is_refused() -> None:
    class Wrapping(HookPlugin):
        api_version = API_VERSION

        @hookimpl(wrapper=True)
        def role_environment(self) -> Any:
            return (yield)

    with pytest.raises(PluginIncompatible, match="cannot be a wrapper"):
        Hooks().register("wrapping", Wrapping(Wrapping.Options()))
