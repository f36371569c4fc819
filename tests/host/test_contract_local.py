"""The environment `local` keeps the promises of environments."""

from __future__ import annotations

from penrose_host.environments.local import LocalEnvironment
from penrose_host.testing import EnvironmentContract


class TestLocal(EnvironmentContract):
    def make(self) -> LocalEnvironment:
        return LocalEnvironment(LocalEnvironment.Options())
