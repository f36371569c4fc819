"""The environment `local`: the chief, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from penrose_host.contracts.batch import Position
from penrose_host.contracts.cluster import ClusterSpec, Role
from penrose_host.contracts.environment import RunResult, Runtime
from penrose_host.contracts.run_spec import RunSpec
from penrose_host.environments.local import LocalEnvironment
from penrose_host.errors import ConfigError


class FakeRuntime(Runtime):
    def __init__(self) -> None:
        self.ran: list[tuple[Role, int, ClusterSpec]] = []

    def run_role(self, role, index, cluster):
        self.ran.append((role, index, cluster))
        return RunResult("end-of-stream", 1, 1, Position("s"), None)

    def operator(self, **_):
        raise NotImplementedError


def spec(roles: Mapping[Role, int]) -> RunSpec:
    return RunSpec("test", Path("runs/test"), {}, roles=roles)


@pytest.mark.parametrize("roles", [{Role.CHIEF: 1}, {Role.CHIEF: 1, Role.PS: 0, Role.WORKER: 0}])
def test_the_chief_runs_here_and_its_result_is_the_runs(roles):
    runtime = FakeRuntime()
    result = LocalEnvironment(LocalEnvironment.Options()).run(spec(roles), runtime)
    assert runtime.ran == [(Role.CHIEF, 0, ClusterSpec.single())]
    assert result.reason == "end-of-stream"


@pytest.mark.parametrize(
    ("roles", "asked"),
    [
        ({Role.CHIEF: 1, Role.PS: 2}, "2 ps"),
        ({Role.CHIEF: 1, Role.WORKER: 3}, "3 worker"),
        ({Role.CHIEF: 2}, "2 chief"),
        ({Role.CHIEF: 1, Role.EVALUATOR: 1}, "1 evaluator"),
        ({}, "no process"),
    ],
)
def test_a_job_of_several_processes_is_refused_with_a_hint(roles, asked):
    runtime = FakeRuntime()
    with pytest.raises(ConfigError, match=asked) as raised:
        LocalEnvironment(LocalEnvironment.Options()).run(spec(roles), runtime)
    assert "penrose plugins" in str(raised.value)
    assert runtime.ran == []
